"""`thresher select` on a prepared pool: every method from artefacts alone, its errors, and what is made once."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from tests.toy_corpus import write_corpus
from thresher.artifacts import open_artifact
from thresher.cli.main import main
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
def test_every_method_runs_from_a_pool_a_target_and_a_model(select, made, name):
    method = f"{name} | random" if METHODS[name].kind == "filter" else name
    result = select(method, "--tokens", "300")
    longest = int(open_examples(made / "pool").lengths().max())
    assert 300 <= result["num_tokens"] < 300 + longest
    assert result["share_of_tokens"] == result["num_tokens"] / open_examples(made / "pool").lengths().sum()
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


def test_embeddings_are_of_all_of_a_text_also_of_a_prompt(made):
    from thresher.studies.selections.evidence import _Whole

    pool = open_examples(made / "pool")
    whole = _Whole(pool.artifact)
    labels = whole.batch([1, 2])["labels"]
    assert (labels == pool.batch([1, 2])["input_ids"]).all()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dsmd", ("--fraction", "0.2"), "column 1: 'dsmd' is unknown (nearest: 'dsdm')"),
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


@pytest.mark.parametrize("targets", ["t t", "t t={f}", "t={f} t", "u t t", "t={f} t={f}"])
@pytest.mark.parametrize("weights", ["", "--weights 1 2 3"])
def test_a_target_is_named_once_so_that_no_weight_is_lost(targets, weights, tmp_path, capsys):
    words = f"select --targets {targets} {weights} --out {{f}}/out --fraction 0.2".format(f=tmp_path).split()
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()
    assert "--targets has 't' twice" in said or "names must be there and differ" in said


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("bm25", ("pool",), "method 'bm25' needs texts of the targets; pass --targets NAME=PATH"),
        ("embedding", ("pool", "targets"), "method 'embedding' needs embeddings of the pool; pass --pool and --models"),
        (
            "dsdm",
            ("pool",),
            "method 'dsdm' needs target scores; pass --scores, or --features and --target-features, or --pool",
        ),
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
    reasons = open_selection(Path(result["path"])).dropped["reason"].to_pylist()
    assert set(reasons) == {"semdedup:eps=0.2", "bm25: beyond the budget"}
    assert [row["stage"] for row in result["stages"]] == ["semdedup:eps=0.2", "bm25:fraction=0.1"]


@pytest.mark.parametrize("format", ["parquet", "jsonl", "jsonl.zst"])
def test_an_export_is_the_kept_documents_in_shards_with_a_card(select, made, tmp_path, format):
    other = select("random:count=20", out="other")["path"]
    given = ("--export", str(tmp_path / "export"), "--format", format, "--rows-per-shard", "5")
    result = select("dsdm:count=12,repeats=2,repeat_cost=0", *given, "--compare", f"random={other}")
    files = sorted((tmp_path / "export").glob("kept-*"))
    assert [file.name for file in files] == [f"kept-0000{i}.{format}" for i in range(3)]
    if format == "jsonl.zst":  # fsspec reads these where zstandard is installed
        texts = [pa.CompressedInputStream(str(file), "zstd").read().decode() for file in files]
        rows = [json.loads(line) for text in texts for line in text.splitlines()]
    else:
        options = {"data_files": [str(file) for file in files], "split": "train", "cache_dir": str(tmp_path / "cache")}
        rows = datasets.load_dataset(format.replace("jsonl", "json"), **options).to_list()
    kept = open_selection(Path(result["path"])).kept.to_pylist()
    source = [json.loads(line) for line in (made / "corpus.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in rows] == list(range(1, 13))
    for row, mine in zip(rows, kept, strict=True):
        assert (row["thresher_id"], row["score"]) == (mine["id"], mine["score"])
        assert {name: row[name] for name in ("id", "text", "source")} == source[mine["position"]]
    for name in ("card.md", "card.html"):
        card = (tmp_path / "export" / name).read_text()
        assert "12 of" in card and "(6 different ones)" in card and "Overlap with other selections" in card
        assert kept[0]["id"] in card and "whole document" in card
    assert "src=" not in card and "href=" not in card


def test_a_card_is_of_the_selections_that_it_was_compared_with(select, tmp_path):
    others = [select(f"random:count={count}", out=f"other-{count}")["path"] for count in (20, 30)]
    given = ("--export", str(tmp_path / "export"), "--format", "ids")
    select("bottom:count=12", *given, "--compare", f"one={others[0]}")
    select("bottom:count=12", *given, "--compare", f"one={others[0]}")
    cases = ({}, {"one": others[1]}, {"two": others[0]}, {"one": others[0], "two": others[1]})
    for number, compared in enumerate(cases):
        words = ["--compare", *(f"{name}={path}" for name, path in compared.items())] if compared else []
        said = select("bottom:count=12", *given, *words, status=2)
        assert str(tmp_path / "export") in said and said.count("\n") == 1
        fresh = tmp_path / f"fresh-{number}"
        select("bottom:count=12", "--export", str(fresh), "--format", "ids", *words)
        card, inputs = (fresh / "card.md").read_text(), open_artifact(fresh).meta["inputs"]
        assert ("Overlap with other selections" in card) == bool(compared)
        assert set(inputs) == {"selection", "pool", *(f"compared {name}" for name in compared)}


def test_ids_are_exported_without_a_pool(made, tmp_path, capsys, select):
    scores = str(next((made / "evidence" / "evidence").glob("scores-*")))
    arguments = ["select", "--scores", scores, "--count", "4", "--out", str(tmp_path / "ids"), "--quiet"]
    assert main([*arguments, "--export", str(tmp_path / "export"), "--format", "ids"]) == 0
    ids = (tmp_path / "export" / "kept.txt").read_text().splitlines()
    assert ids == open_selection(tmp_path / "ids").kept["id"].to_pylist()
    assert main([*arguments, "--export", str(tmp_path / "more")]) == 2
    assert "an export as parquet needs the texts; pass --pool" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--export", "x", "--format", "csv"),
            "format 'csv' is unknown; pass one of: parquet, jsonl, jsonl.zst, mds, megatron, ids",
        ),
        (("--export", "x", "--rows-per-shard", "0"), "--rows-per-shard 0 cannot be; give a number from 1"),
        (("--compare", "a=."), "--compare changes nothing without --export"),
        (("--format", "jsonl"), "--format changes nothing without --export; add it, or leave --format out"),
        (("--push-to", "a/b"), "--push-to changes nothing without --export"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_selecting(select, tmp_path, options, message):
    assert message in select("random:0.1", *options, status=2)
    assert not (tmp_path / "subset").exists()


def test_scores_know_how_long_their_examples_are(made, tmp_path, capsys, select):
    select("dsdm:0.2")
    scores = str(next((made / "evidence" / "evidence").glob("scores-*")))
    arguments = ["select", "--scores", scores, "--fraction", "0.3", "--out", str(tmp_path / "alone"), "--quiet"]
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    lengths = open_examples(made / "pool").lengths()
    kept = open_selection(tmp_path / "alone").positions
    assert lengths[kept[:-1]].sum() < round(0.3 * lengths.sum()) <= lengths[kept].sum()
