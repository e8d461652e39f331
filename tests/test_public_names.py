"""What people may import: every package's `__all__`, and nothing else in programs that show how it is done."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "thresher",
    "thresher.data",
    "thresher.proxies",
    "thresher.attribution",
    "thresher.selection",
    "thresher.selection.mixture",
    "thresher.studies",
    "thresher.integrations",
)
# Modules of the ground are one idea each, and public as they are.
GROUND = {f"thresher.{file.stem}" for file in (ROOT / "thresher").glob("[a-z]*.py")}
GROUND |= {"thresher.artifacts", "thresher.executors.jobs"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_documented(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value) and getattr(value, "__module__", "").startswith("thresher"):
            assert value.__doc__, f"{package}.{name}"
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_module_beside_it(package):
    """Which the package would have under that name as soon as anything imports it."""
    module = importlib.import_module(package)
    assert not {found.name for found in pkgutil.iter_modules(module.__path__)} & {*module.__all__}


def test_importing_thresher_loads_nothing_heavy():
    heavy = "{'torch', 'numpy', 'transformers', 'datasets', 'pandas', 'tyro'}"
    code = f"import sys, thresher; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("file", [p for b in ("examples", "benchmarks") for p in sorted((ROOT / b).rglob("*.py"))],
                         ids=lambda path: path.relative_to(ROOT).as_posix())  # fmt: skip
def test_examples_and_benchmarks_import_public_names_alone(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "thresher":
            if node.module in GROUND:
                continue
            public = importlib.import_module(node.module).__all__ if node.module in PACKAGES else ()
            private = [alias.name for alias in node.names if alias.name not in public]
            assert not private, f"{file.name}: {node.module} offers no {private}"


def test_python_m_thresher_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "thresher", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("thresher ")
