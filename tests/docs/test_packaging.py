"""A wheel and a source archive hold all rooms, and install without a checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

ROOMS = ("proxies", "attribution", "selection", "studies", "cli")
pytestmark = pytest.mark.slow


def build(kind, source, out):
    """The wheel or the source archive of a checkout, or of an unpacked archive."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, text=True)
    return max(out.iterdir(), key=lambda file: file.stat().st_mtime_ns)


def rows(wheel):
    """Names and contents of the package's files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("thresher/")}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is built from, links as they are."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("thresher", *ROOMS):
        shutil.copytree(ROOT / name, place / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_has_every_file_of_every_room(checkout, wheel):
    linked = [checkout / "thresher", *(checkout / "thresher" / room for room in ROOMS)]
    files = {file for folder in linked for file in folder.rglob("*") if file.is_file()}
    assert set(rows(wheel)) == {file.relative_to(checkout).as_posix() for file in files}
    assert "thresher/py.typed" in rows(wheel)


def test_the_source_archive_makes_the_same_wheel(checkout, wheel, tmp_path):
    (tmp_path / "archive").mkdir()
    with tarfile.open(build("sdist", checkout, tmp_path / "archive")) as archive:
        # The filter came with Python 3.11.4.
        archive.extractall(tmp_path / "source", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (tmp_path / "wheel").mkdir()
    (source,) = (tmp_path / "source").iterdir()
    assert not any(path.is_symlink() for path in source.rglob("*"))
    assert rows(build("wheel", source, tmp_path / "wheel")) == rows(wheel)


def test_an_installed_wheel_works_in_another_folder(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env/bin/python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    # What it depends on is already here; itself it must bring.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    work = tmp_path / "work"
    work.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*words):
        done = subprocess.run(
            [tmp_path / "env/bin/thresher", *words], cwd=work, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [python, "-c", "import thresher; print(thresher.__file__)"]
    assert subprocess.check_output(where, cwd=work, env=env, text=True).startswith(str(packages))
    assert "usage: thresher COMMAND" in run("--help")
    (work / "corpus.jsonl").write_text("".join(json.dumps({"text": f"one two three {n}"}) + "\n" for n in range(20)))
    prepared = json.loads(run("prepare", "--data", "corpus.jsonl", "--vocab-size", "300", "--out", "pool", "--json"))
    assert prepared["num_examples"] == 20
    chosen = ["select", "--method", "random", "--pool", "pool", "--fraction", "0.5", "--out", "kept"]
    run(*chosen, "--export", "export", "--format", "jsonl")
    assert (work / "export/card.html").exists()
