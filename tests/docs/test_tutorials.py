"""Three people's paths, as their pages have them: every block is run, on the data that the page makes."""

import re
import runpy
import shlex

import pyarrow.parquet as pq
import pytest

from tests.docs.pages import DOCS, blocks, commands
from thresher.cli.main import main

TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


def follow(page, folder, monkeypatch):
    """Make the data of a page in `folder`, then run its commands there."""
    monkeypatch.chdir(folder)
    found = blocks(DOCS / "tutorials" / page)
    for block in found:
        if block.title:
            (folder / block.title).write_text(block.code)
            runpy.run_path(block.title)
    for block in found:
        for command in commands(block) if block.language == "sh" else ():
            program, *words = shlex.split(command)
            assert program == "thresher" and main([*words, "--quiet"]) == 0, command


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_path_is_at_most_five_commands(page):
    found = [block for block in blocks(page) if block.language in ("sh", "python") and not block.title]
    assert found and all(block.language == "sh" for block in found)
    assert sum(len(commands(block)) for block in found) <= 5


def test_a_corpus_becomes_a_subset_of_whole_documents_with_its_card(tmp_path, monkeypatch):
    follow("corpus.md", tmp_path, monkeypatch)
    rows = pq.read_table(tmp_path / "export/kept-00000.parquet").to_pylist()
    texts = (tmp_path / "corpus.jsonl").read_text().splitlines()
    assert 10 < len(rows) < len(texts) / 2
    whole = {pair for line in texts for pair in re.findall(r'"id": "(.*?)", "source": "(.*?)"', line)}
    assert {(row["id"], row["source"]) for row in rows} <= whole
    # Of the pool a third is documentation, as the target is.
    assert sum(row["source"] == "documentation" for row in rows) > 0.6 * len(rows)
    assert "Selection by dsdm" in (tmp_path / "export/card.html").read_text()


def test_checkpoints_of_torchvision_and_transformers_become_pages(tmp_path, monkeypatch, capsys):
    follow("checkpoints.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "72 train x 18 test examples" in printed and "42 train x 6 test examples" in printed
    accuracies = [float(value) for value in re.findall(r"^test: .*accuracy ([\d.]+)", printed, re.M)]
    assert len(accuracies) == 2 and accuracies[0] > 0.7
    images, texts = ((tmp_path / name).read_text() for name in ("images.html", "texts.html"))
    assert "image/png" in images and "harbour" in texts
    assert not re.search(r"""(?:src|href)=["']?https?:""", images + texts)


def test_a_table_of_runs_becomes_the_verdict_on_the_page(tmp_path, monkeypatch, capsys):
    follow("table.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    shown = next(block.code for block in blocks(DOCS / "tutorials/table.md") if block.language == "text")
    assert len(shown.splitlines()) > 5 and set(shown.splitlines()) <= set(printed.splitlines())
