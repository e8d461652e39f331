"""A few of the drawn mistakes in every run: `python -m tests.reliability --only bad_inputs` tries hundreds."""

import os
import random

import pytest

from tests.reliability.bad_inputs import COMMANDS, broken_things
from tests.reliability.ground import leftovers, not_one_line, write_sources
from tests.reliability.mistakes import in_command, in_study
from thresher.artifacts import build
from thresher.cli.main import main

# Commands that are refused, or done, in a moment.
LIGHT = ("prepare", "prepare vision", "overlap", "train", "score", "search", "mix plan", "report")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    write_sources(folder / "base" / "src")

    def write(draft):
        with draft.file("x") as file:
            file.write_text("x" * 200)

    build(folder / "base" / "pool", kind="thing", config={}, seed=0, inputs={}, write=write)
    broken_things(folder / "things", folder / "base" / "pool")
    return folder


def refused(capsys, words) -> None:
    """Status 2 and one line, or done; whatever it is, nothing half made is left."""
    capsys.readouterr()
    code = main([*words, "--quiet"])
    err = capsys.readouterr().err
    assert code == 0 or not not_one_line(code, err), (words, err[-500:])
    assert code == 0 or leftovers(os.curdir) == [], words


@pytest.mark.parametrize("name", LIGHT)
def test_a_mistake_in_a_command_is_one_line(name, ground, tmp_path, capsys, monkeypatch):
    cases = list(in_command(name, COMMANDS[name]))
    for number, (_, words) in enumerate(random.Random(0).sample(cases, 6)):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        places = {"{b}": str(ground / "base"), "{t}": str(ground / "things")}
        refused(capsys, [word.replace("{b}", places["{b}"]).replace("{t}", places["{t}"]) for word in words])


def test_a_mistake_in_a_study_is_one_line(ground, tmp_path, capsys, monkeypatch):
    text = (ground / "base" / "src" / "study.toml").read_text().replace("pool.jsonl", "not-there.jsonl")
    monkeypatch.chdir(tmp_path)
    for _, changed in random.Random(0).sample(list(in_study(text)), 40):
        (tmp_path / "study.toml").write_text(changed, encoding="utf-8")
        refused(capsys, ["run", "study.toml", "--out", "o"])
