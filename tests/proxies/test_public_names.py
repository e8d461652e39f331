"""What the part offers by name is there, and costs nothing until it is used."""

import subprocess
import sys

import pytest

import thresher.proxies


@pytest.mark.parametrize("name", thresher.proxies.__all__)
def test_every_public_name_is_found(name):
    assert getattr(thresher.proxies, name).__name__ == name


def test_an_unknown_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        thresher.proxies.no_such_name  # noqa: B018


def test_importing_the_part_imports_no_torch_and_its_settings_no_torchvision():
    code = "import sys, thresher.proxies; assert 'torch' not in sys.modules; import thresher.proxies.settings; "
    code += "assert not {'torchvision', 'transformers'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
