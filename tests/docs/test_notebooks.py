"""The notebooks run from top to bottom, and are kept without their outputs."""

import json

import pytest

from tests.docs.pages import DOCS

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_stands_on_its_page(path):
    cells = json.loads(path.read_text())["cells"]
    assert len(cells) < 20 and not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert path.name in (DOCS / "notebooks.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    book = nbformat.read(path, 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute()
    assert any(cell.get("outputs") for cell in book.cells)
