"""What a command says on stderr and in its log, and which command it names next."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.toy_corpus import write_corpus
from thresher.cli.following import after_selecting
from thresher.cli.main import main
from thresher.cli.telling import Log
from thresher.places import MARK, write_json

STUDY = 'name = "mine"\n[pool]\ndata = "pool.jsonl"\n[target.t]\ndata = "target.jsonl"\n'
STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus, and a pool, a target and a part held out, prepared, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("my data")
    corpus = write_corpus(folder / "corpus.jsonl")
    shape = ("--sequence-length", "16", "--id", "id", "--quiet")
    pool = ("--part", "0.3", "1", "--vocab-size", "300", "--domain", "source", "--out", str(folder / "pool"))
    assert main(["prepare", "--data", str(corpus), *pool, *shape]) == 0
    for name, part in {"target": ("0", "0.15"), "heldout": ("0.15", "0.3")}.items():
        given = ("--tokenizer", str(folder / "pool-tokenizer"), "--part", *part, "--out", str(folder / name))
        assert main(["prepare", "--data", str(corpus), *given, *shape]) == 0
    return folder


def told(capsys, *arguments, status=0):
    """The lines on stderr of a command."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == status
    return capsys.readouterr().err.splitlines()


def words_of(line):
    """The words after `thresher` of a line that names the next command."""
    assert line.startswith("thresher: next: thresher ")
    return shlex.split(line.removeprefix("thresher: next: "))[1:]


def test_from_the_corpus_to_a_validation_every_command_names_one_that_runs(folder, capsys, tmp_path):
    """The whole path, each line typed as the one before says it."""
    again = ("prepare", "--data", folder / "corpus.jsonl", "--part", 0.3, 1, "--domain", "source", "--id", "id")
    shape = ("--vocab-size", 300, "--sequence-length", 16, "--out", folder / "pool")
    line, ran = told(capsys, *again, *shape)[-1], []
    for _ in range(4):
        words = words_of(line)
        ran.append(words[0])
        small = {"train": ["--model", "20k"], "validate": ["--model", "20k", "--seeds", "2", "--workers", "1"]}
        said = told(capsys, *words, *small.get(words[0], []))
        line = said[-1]
    assert ran == ["train", "score", "select", "validate"]
    assert not said[-1].startswith("thresher: next: ")
    assert "heldout=" in shlex.join(words)  # what the scores have seen is not validated on


def test_the_next_commands_of_images_train_models_of_images(capsys, tmp_path):
    draw = np.random.default_rng(0)
    for number in range(48):
        place = tmp_path / "all" / ("cat", "dog")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place)
    images = ("prepare", "--task", "vision", "--data", tmp_path / "all")
    for name, part in {"heldout": (0, 0.15), "target": (0.15, 0.35)}.items():
        told(capsys, *images, "--part", *part, "--classes", "cat", "dog", "--out", tmp_path / name, "--quiet")
    line, ran = told(capsys, *images, "--part", 0.35, 1, "--out", tmp_path / "pool")[-1], []
    quick = {"train": ["--epochs", 1], "validate": ["--epochs", 1, "--seeds", 2, "--workers", 1]}
    for _ in range(4):
        words = words_of(line)
        ran.append(words[0])
        line = told(capsys, *words, *quick.get(words[0], []))[-1]
    assert ran == ["train", "score", "select", "validate"]


def test_no_training_is_named_for_classes_of_text_which_need_a_checkpoint(folder, capsys, tmp_path):
    shape = ("--sequence-length", 16, "--tokenizer", folder / "pool-tokenizer", "--out", tmp_path / "labelled")
    line = ("prepare", "--task", "text-classification", "--data", folder / "corpus.jsonl", "--label", "source", *shape)
    assert not [said for said in told(capsys, *line) if "next:" in said]
    assert after_selecting(tmp_path / "labelled", None, tmp_path / "kept") is None


def test_after_overlap_every_option_that_both_commands_have_is_passed_on(folder, capsys, tmp_path):
    words = "a run of words that stands here and there and nowhere else in all the data"
    texts = [words, *(f"text {number} of the pool, {words[:number]}" for number in range(40))]
    rows = [{"body": text, "key": str(number)} for number, text in enumerate(texts)]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"body": 5, "key": "x"}]))
    (tmp_path / "target.jsonl").write_text(json.dumps({"text": words}) + "\n")
    options = ("--text", "body", "--id", "key", "--bad-rows", "skip", "--ngram", 5)
    line = ("overlap", "--data", tmp_path / "bad.jsonl", "--targets", f"t={tmp_path / 'target.jsonl'}", *options)
    words = words_of(told(capsys, *line, "--out", tmp_path / "overlap")[-1])
    assert words[0] == "prepare" and all(str(word) in words for word in options)
    told(capsys, *words)


def test_no_next_command_under_quiet_and_json(folder, capsys):
    line = ("prepare", "--data", folder / "corpus.jsonl", "--id", "id", "--part", 0.3, 1, "--domain", "source")
    line = (*line, "--vocab-size", 300, "--sequence-length", 16, "--out", folder / "pool")
    assert told(capsys, *line, "--quiet") == []
    assert not [said for said in told(capsys, *line, "--json") if "next:" in said]


def test_a_log_has_every_line_with_its_time_and_goes_on_where_it_ended(folder, capsys, tmp_path):
    log = tmp_path / "log.txt"
    line = ("train", "--pool", folder / "pool", "--model", "20k", "--out", tmp_path / "proxy", "--log", log)
    said = told(capsys, *line)
    head, *lines = log.read_text().splitlines()
    assert head.startswith("Written by thresher") and all(STAMPED.match(line) for line in lines)
    texts = [STAMPED.sub("", line) for line in lines]
    assert texts[0] == f"begun: {shlex.join(['thresher', *map(str, line)])}" and texts[-1] == "ended with status 0"
    assert [f"thresher: {text}" for text in texts[1:-1]] == said
    assert told(capsys, *line[:-4], "--out", tmp_path / "no" / "x", "--fraction", 7, "--log", log, status=2)
    assert main([*map(str, line), "--quiet"]) == 0
    again = log.read_text().splitlines()
    assert again[: len(lines) + 1] == [head, *lines] and again[-1].endswith("ended with status 0")


def test_under_quiet_the_log_still_says_how_far_the_work_has_come(folder, capsys, tmp_path):
    log = tmp_path / "log.txt"
    line = ("train", "--pool", folder / "pool", "--model", "20k", "--out", tmp_path / "proxy", "--log", log)
    assert told(capsys, *line, "--quiet") == []
    assert [STAMPED.sub("", line) for line in log.read_text().splitlines()[2:]] == ["train", "ended with status 0"]


def test_an_error_is_in_the_log_too(folder, capsys, tmp_path):
    log = tmp_path / "log.txt"
    line = ("train", "--pool", folder / "pool", "--model", "zebra:1M", "--out", tmp_path / "proxy")
    first = told(capsys, *line, "--log", log, status=2)
    if log.exists():
        assert first[-1].removeprefix("thresher: ") in log.read_text()


@pytest.mark.parametrize(
    "log, said",
    [
        ("corpus.jsonl", "is no log of ours"),
        ("target", "is a folder"),
        ("no/such/log.txt", "does not exist"),
        ("new/log.txt", "is in what this command makes"),
    ],
)
def test_a_log_is_written_over_nothing_and_into_no_artefact(log, said, folder, capsys):
    before = (folder / "corpus.jsonl").read_bytes()
    (folder / "new").mkdir(exist_ok=True)
    line = ("train", "--pool", folder / "pool", "--model", "20k", "--out", folder / "new", "--log", folder / log)
    (error,) = told(capsys, *line, status=2)
    assert error.startswith("thresher: error: ") and said in error
    assert (folder / "corpus.jsonl").read_bytes() == before


def test_lines_are_added_to_no_file_of_ours_but_a_log(capsys, tmp_path, monkeypatch):
    """A table, a page and a result have our mark too, and a line at their end damages them."""
    monkeypatch.chdir(tmp_path)
    plan = ("mix", "plan", "web", "books", "--runs", "2")
    assert main([*plan, "--out", "plan.csv", "--quiet"]) == 0
    write_json({"a": 1}, tmp_path / "result.json")
    (tmp_path / "study.toml").write_text(f"# {MARK}\n")
    for name in ("plan.csv", "result.json", "study.toml"):
        before = (tmp_path / name).read_bytes()
        (error,) = told(capsys, *plan, "--log", name, status=2)
        assert f"--log {name} is there already and is no log of ours" in error
        assert (tmp_path / name).read_bytes() == before
    (tmp_path / "empty").touch()
    (tmp_path / "old.log").write_text("2026-01-02 03:04:05  begun: thresher doctor\n")
    for name in ("empty", "old.log"):
        told(capsys, *plan, "--log", name)
        assert (tmp_path / name).read_text().endswith("ended with status 0\n")
    assert (tmp_path / "empty").read_text().startswith(MARK)


def test_a_log_and_an_output_are_two_files(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    plan = ("mix", "plan", "web", "books", "--runs", "2")
    made = "is an output of this command too"
    for line, said in {
        (*plan, "--out", "x.csv", "--log", "x.csv"): made,
        ("report", "report.json", "--log", "report.html"): made,  # where no option says the output
        ("explore", folder / "pool", "--pool", folder / "pool", "--log", "explorer.html"): made,
        ("run", "study.toml", "--log", "runs/mine/report.html"): "is in what this command makes",
    }.items():
        (error,) = told(capsys, *line, status=2)
        assert said in error and not Path(line[-1]).exists()
    told(capsys, *plan, "--log", "kept.log")
    before = (tmp_path / "kept.log").read_text()
    (error,) = told(capsys, *plan, "--out", "kept.log", status=2)
    assert "is a log, which nothing is written over" in error and (tmp_path / "kept.log").read_text() == before


def test_quiet_and_verbose_contradict(capsys):
    (error,) = told(capsys, "doctor", "--quiet", "--verbose", status=2)
    assert "leave one out" in error


def test_a_line_of_a_log_is_one_line_whatever_it_says(tmp_path):
    log = Log(tmp_path / "log.txt")
    log.write("two\nlines \x1b[2J and \ud800")
    log.close()
    (line,) = (tmp_path / "log.txt").read_text().splitlines()[1:]
    assert STAMPED.sub("", line) == "two lines \\x1b[2J and \\ud800"


def test_a_stop_is_the_last_thing_said_and_in_the_log(folder, tmp_path):
    """Ctrl-C while lines are said: they stay, one more says why it ended, here and in the log."""
    log = tmp_path / "log.txt"
    line = ["train", "--pool", folder / "pool", "--model", "20k", "--epochs", "100000", "--out", tmp_path / "proxy"]
    command = [sys.executable, "-m", "thresher", *map(str, line), "--log", str(log), "--verbose"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=300)[1]
    said = [*first.splitlines(), *rest.splitlines()]
    assert process.returncode == 130 and said[0].startswith("thresher: to come: 1 training; ")
    assert said[-1] == "thresher: interrupted; run the same command again to resume"
    texts = [STAMPED.sub("", line) for line in log.read_text().splitlines()]
    assert "interrupted" in texts


def listen():
    """Ctrl-C reaches the command, whatever started the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
