"""`thresher select` on a prepared pool: every method from artefacts alone, its errors, and what is made once."""

import json

import numpy as np
import pytest
from toy_corpus import write_corpus

from thresher.cli.main import main
from thresher.cli.selecting import decoded
from thresher.data.examples import open_examples
from thresher.selection.methods import METHODS
from thresher.selection.selection import open_selection


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a pool of three domains, a target of one of them, and a model."""
    root = tmp_path_factory.mktemp("select")
    lines = write_corpus(root / "corpus.jsonl", 120).read_text().splitlines(keepends=True)
    (root / "cooking.jsonl").write_text("".join(line for line in lines[:60] if '"source": "cooking"' in line))
    (root / "corpus.jsonl").write_text("".join(lines[60:]))
    shared = ["--sequence-length", "32", "--quiet"]
    data = ["--data", str(root / "corpus.jsonl"), "--domain", "source", "--id", "id", "--vocab-size", "300"]
    assert main(["prepare", *data, *shared, "--out", str(root / "pool")]) == 0
    target = ["--data", str(root / "cooking.jsonl"), "--tokenizer", str(root / "pool-tokenizer")]
    assert main(["prepare", *target, *shared, "--out", str(root / "cooking")]) == 0
    assert main(["train", "--pool", str(root / "pool"), "--model", "20k", "--quiet", "--out", str(root / "model")]) == 0
    return root


@pytest.fixture
def select(made, tmp_path, capsys):
    def select(method, *options, out="subset", status=0):
        given = ["--pool", str(made / "pool"), "--targets", f"cooking={made / 'cooking'}"]
        given += ["--models", str(made / "model"), "--evidence", str(made / "evidence"), "--quiet", "--json"]
        capsys.readouterr()
        assert main(["select", "--method", method, *given, *options, "--out", str(tmp_path / out)]) == status
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 else printed.err

    return select


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_from_a_pool_a_target_and_a_model(select, name):
    method = f"{name} | random" if METHODS[name].kind == "filter" else name
    result = select(method, "--tokens", "300")
    assert 300 - 32 < result["num_tokens"] <= 300
    cooking = result["domain_shares"]["cooking"]
    if name in ("bm25", "classifier", "dsir", "embedding"):
        assert cooking["after"] > 2 * cooking["before"]


def test_what_was_computed_is_found_again(select, made):
    select("embedding:0.2")
    there = {path.name for path in (made / "evidence" / "evidence").iterdir()}
    before = {path: path.stat().st_mtime_ns for path in (made / "evidence").rglob("*.npy")}
    select("embedding:0.3", out="other")
    assert {path.name for path in (made / "evidence" / "evidence").iterdir()} == there
    assert {path: path.stat().st_mtime_ns for path in (made / "evidence").rglob("*.npy")} == before


def test_what_is_kept_more_than_once_can_be_trained_on(select, made, tmp_path):
    result = select("dsdm:count=12,repeats=4,repeat_cost=0")
    assert (result["num_kept"], result["num_unique"]) == (12, 3)
    options = ["--pool", str(made / "pool"), "--selection", result["path"], "--model", "20k", "--epochs", "1"]
    assert main(["train", *options, "--quiet", "--out", str(tmp_path / "again")]) == 0


def test_decoded_text_is_the_tokens_of_the_rows_asked_for(made):
    pool = open_examples(made / "pool")
    rows = np.array([5, 0, 3])
    assert list(decoded(pool, rows)) == [(row, pool.preview(row).replace("<|endoftext|>", "")) for row in (5, 0, 3)]


def test_embeddings_are_of_all_of_a_text_also_of_a_prompt(made):
    from thresher.cli.selecting_models import _Whole

    pool = open_examples(made / "pool")
    whole = _Whole(pool.artifact)
    labels = whole.batch([1, 2])["labels"]
    assert (labels == pool.batch([1, 2])["input_ids"]).all()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dsmd", ("--fraction", "0.2"), "column 1: 'dsmd' is unknown"),
        ("dsdm", ("--count", "100000"), "100000 examples asked for, but the pool has"),
        ("dsdm", ("--tokens", "99999999"), "99999999 tokens asked for, but the pool has"),
        ("dsdm", (), "pass exactly one of them"),
        ("minhash", ("--fraction", "0.2"), "ends in minhash, which drops and does not rank"),
        ("dsdm", ("--fraction", "0.2", "--weights", "1", "2"), "2 --weights for 1 --targets"),
    ],
)
def test_bad_input_ends_in_one_line(select, method, options, message):
    said = select(method, *options, status=2)
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("bm25", ("pool",), "method 'bm25' needs texts of the targets; pass --targets NAME=PATH"),
        ("embedding", ("pool", "targets"), "method 'embedding' needs embeddings of the pool; pass --pool and --models"),
        ("dsdm", ("pool",), "method 'dsdm' needs target scores; pass --scores, or --pool, --targets"),
        ("loss", ("pool",), "method 'loss' needs losses of the pool; pass --pool and --models, or --features"),
        ("random", (), "nothing to select from; pass --scores, --pool or --features"),
    ],
)
def test_a_method_without_its_evidence_names_the_flag(made, tmp_path, capsys, method, given, message):
    flags = {"pool": ["--pool", str(made / "pool")], "targets": ["--targets", f"cooking={made / 'cooking'}"]}
    options = [part for name in given for part in flags[name]]
    arguments = ["select", "--method", method, "--fraction", "0.2", *options, "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*partial"))


def test_kept_and_dropped_say_which_stage_left_what_out(select):
    result = select("semdedup:eps=0.2 | bm25:0.1")
    reasons = open_selection(result["path"]).dropped["reason"].to_pylist()
    assert set(reasons) == {"semdedup:eps=0.2", "bm25: beyond the budget"}
    assert [row["stage"] for row in result["stages"]] == ["semdedup:eps=0.2", "bm25:fraction=0.1"]
