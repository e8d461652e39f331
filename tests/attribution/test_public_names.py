"""What `thresher.attribution` offers by name."""

import importlib
import subprocess
import sys

import pytest

import thresher.attribution as attribution


@pytest.mark.parametrize("name", attribution.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(attribution, name)
    assert value.__name__ == name and value.__doc__
    assert getattr(importlib.import_module(value.__module__), name) is value


def test_public_names_are_imported_only_when_they_are_used() -> None:
    script = "import sys, thresher.attribution; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'rank'"):
        attribution.rank  # noqa: B018
