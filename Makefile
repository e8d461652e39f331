# Everything a checkout needs. `make demo` and `make test` set up what is missing by themselves.
PYTHON ?= python3
ENV := .venv
RUN := $(ENV)/bin
# On a machine with CUDA: make FAISS=gpu demo
FAISS ?= cpu
# vision or language: that demo alone.
TASK ?=
# Processes that tests run in: one a core, up to four. WORKERS=0: in this one.
WORKERS ?= auto
PARALLEL = -n $(WORKERS) --maxprocesses 4 --dist loadfile

STREAMING := .venv-streaming

.PHONY: demo test test-slow test-integrations soak check docs wheel bench bench-attribution machines setup clean

setup: $(ENV)/.ready-$(FAISS)

$(ENV)/.ready-$(FAISS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "thresher needs Python 3.11 or newer; set PYTHON=python3.x" >&2; exit 2; }
	@test -L thresher/cli || { echo "thresher/cli is no symbolic link in this checkout; see 'Checkouts without links' in README.md" >&2; exit 2; }
	test -x $(RUN)/python || $(PYTHON) -m venv $(ENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -e '.[$(FAISS),dev]'
	@touch $@

demo: setup
	$(RUN)/thresher demo $(if $(TASK),--task $(TASK))

test: setup
	$(RUN)/python -m pytest -m 'not slow and not integration' $(PARALLEL) --durations=10 $(ARGS)

# Whole studies, killed ones, and what starts other machinery (Ray, torchrun): minutes.
test-slow: setup
	$(RUN)/python -m pytest -m slow $(PARALLEL) --durations=10 $(ARGS)

# Beside other people's tools: lm-evaluation-harness, Megatron, MosaicML's streaming, datatrove, trackers, the hub.
test-integrations: setup $(ENV)/.ready-integrations
	$(RUN)/python -m pytest -m integration $(PARALLEL) --durations=10 $(ARGS)

# mosaicml-streaming asks for older numpy and transformers: an environment of its own, torch borrowed from ours.
$(ENV)/.ready-integrations: pyproject.toml
	$(RUN)/pip install --quiet --disable-pip-version-check -e '.[$(FAISS),dev,integrations]' megatron-core
	$(RUN)/pip install --quiet --disable-pip-version-check --no-deps embedding-atlas  # of its server nothing is tested
	test -x $(STREAMING)/bin/python || $(PYTHON) -m venv $(STREAMING)
	$(RUN)/python -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' > shared.pth
	mv shared.pth $(STREAMING)/lib/python*/site-packages/
	$(STREAMING)/bin/pip install --quiet --disable-pip-version-check mosaicml-streaming==0.13.0
	@touch $@

# Everything that may go wrong with a process, a disk or a machine, at full size: hours; as root, all limits too.
# ARGS="--only soak --minutes 20": a part of it.
soak: setup
	$(RUN)/python -m tests.reliability $(ARGS)

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/pyright
	$(RUN)/lint-imports

# The documentation as a site. Browsers let it be searched where it is served: python -m http.server -d build/site
docs: setup
	$(RUN)/pip install --quiet --disable-pip-version-check -e '.[$(FAISS),docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN)/python -m mkdocs build --strict --quiet

# dist/: a wheel and a source archive, which install without a checkout.
wheel: setup
	$(RUN)/pip install --quiet --disable-pip-version-check build
	$(RUN)/python -m build --outdir dist

bench: setup
	$(RUN)/python -m benchmarks.loop --quick
	$(RUN)/python -m benchmarks.attribution.featurize --quick

# Beside traker, dattri, kronfluence and bergson: about half an hour. ARGS=--quick: our own part, under 3 minutes.
bench-attribution: setup
	$(RUN)/python -m benchmarks.attribution.peers $(ARGS)

# Demos and tests as other processors, thread counts and precisions would run them: an hour or two, resumable.
machines: setup
	$(RUN)/python -m benchmarks.machines $(ARGS)

clean:
	rm -rf $(ENV) $(STREAMING) build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
