# Everything a checkout needs. `make demo` and `make test` set up what is missing by themselves.
PYTHON ?= python3
ENV := .venv
RUN := $(ENV)/bin
# On a machine with CUDA: make FAISS=gpu demo
FAISS ?= cpu
TASK ?= language

.PHONY: demo test check bench bench-attribution setup clean

setup: $(ENV)/.ready-$(FAISS)

$(ENV)/.ready-$(FAISS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "thresher needs Python 3.11 or newer; set PYTHON=python3.x" >&2; exit 2; }
	@test -L thresher/cli || { echo "thresher/cli is no symbolic link in this checkout; see 'Checkouts without links' in README.md" >&2; exit 2; }
	test -x $(RUN)/python || $(PYTHON) -m venv $(ENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -e '.[$(FAISS),dev]'
	@touch $@

demo: setup
	$(RUN)/thresher demo --task $(TASK)

test: setup
	$(RUN)/python -m pytest -m 'not slow' $(ARGS)

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/pyright
	$(RUN)/lint-imports

bench: setup
	$(RUN)/python -m benchmarks.loop --quick
	$(RUN)/python -m benchmarks.attribution.featurize --quick

# Beside traker, dattri, kronfluence and bergson: about half an hour. ARGS=--quick: our own part, under 3 minutes.
bench-attribution: setup
	$(RUN)/python -m benchmarks.attribution.peers $(ARGS)

clean:
	rm -rf $(ENV) build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
