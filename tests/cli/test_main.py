"""The command line as a person or a script meets it: help, JSON on stdout, one-line errors with status 2."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.toy_corpus import write_corpus
from thresher.cli.main import COMMANDS, main
from thresher.data.examples import open_examples

COMMANDS_PAGE = Path(__file__).resolve().parents[2] / "docs/commands.md"


def run(capsys, *arguments):
    """(status, the JSON object on stdout or None, stderr) of one command."""
    capsys.readouterr()
    status = main([*map(str, arguments), "--json", "--quiet"])
    printed = capsys.readouterr()
    assert status == 0 or printed.out == ""
    return status, json.loads(printed.out) if printed.out else None, printed.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small run of every step, made with the commands themselves."""
    folder = tmp_path_factory.mktemp("made")
    corpus = write_corpus(folder / "corpus.jsonl")

    def do(*arguments):
        assert main([*map(str, arguments), "--quiet"]) == 0

    shape = ("--vocab-size", 300, "--sequence-length", 16)
    do(
        "prepare",
        "--data",
        corpus,
        "--domain",
        "source",
        "--id",
        "id",
        "--part",
        0.2,
        1,
        *shape,
        "--out",
        folder / "pool",
    )
    tokenizer = ("--tokenizer", folder / "pool-tokenizer", "--sequence-length", 16)
    do("prepare", "--data", corpus, "--id", "id", "--part", 0, 0.2, *tokenizer, "--out", folder / "target")
    do("train", "--pool", folder / "pool", "--model", "20k", "--out", folder / "proxy")
    for name in ("pool", "target"):
        do(
            "featurize",
            "--models",
            folder / "proxy",
            "--examples",
            folder / name,
            "--k",
            32,
            "--out",
            folder / f"{name}-features",
        )
    do(
        "score",
        "--pool",
        folder / "pool-features",
        "--targets",
        f"t={folder / 'target-features'}",
        "--out",
        folder / "scores",
    )
    do("index", "--features", folder / "pool-features", "--out", folder / "index")
    do("select", "--scores", folder / "scores", "--fraction", 0.25, "--out", folder / "subset")
    return folder


def test_help_names_every_command_and_loads_no_heavy_library():
    script = "import sys; from thresher.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert not {"torch", "numpy", "tyro", "rich"} & set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: thresher {name} ")


def test_the_steps_of_the_page_of_commands_exist(tmp_path, capsys, monkeypatch):
    """Each line of the step-by-step block is accepted by its command's parser; what fails is a missing file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    block = COMMANDS_PAGE.read_text().split("thresher prepare --data corpus.jsonl")[1].split("```")[0]
    lines = ["thresher prepare --data corpus.jsonl" + block.splitlines()[0], *block.splitlines()[1:]]
    assert len(lines) == 11
    for line in lines:
        assert main(shlex.split(line)[1:]) == 2, line
        assert capsys.readouterr().err.startswith("thresher: error: "), line


def test_a_rank_that_was_left_over_silences_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    status, result, _ = run(capsys, "mix", "plan", "web", "books", "--runs", 2)
    assert status == 0 and len(result["runs"]) == 2


def test_no_command_prints_the_help(capsys):
    assert main([]) == 0
    assert "usage: thresher COMMAND" in capsys.readouterr().out


def test_results_are_json_alone_and_a_second_call_finds_what_is_there(made, capsys):
    arguments = ("select", "--scores", made / "scores", "--fraction", 0.25, "--out", made / "subset")
    status, result, _ = run(capsys, *arguments)
    assert (status, result["built"], result["kind"]) == (0, False, "selection")
    lengths = open_examples(made / "pool").lengths()
    assert round(0.25 * lengths.sum()) <= result["num_tokens"] < round(0.25 * lengths.sum()) + lengths.max()


def test_search_agrees_with_the_scores_of_one_example(made, capsys):
    status, found, _ = run(
        capsys,
        "search",
        "--index",
        made / "index",
        "--target",
        made / "target-features",
        "--example",
        0,
        "--top",
        3,
        "--pool",
        made / "pool",
    )
    assert status == 0
    helpful, harmful = ([hit["score"] for hit in found[name]] for name in ("helpful", "harmful"))
    assert helpful == sorted(helpful, reverse=True) and harmful == sorted(harmful) and helpful[-1] > harmful[-1]
    assert all(hit["preview"] for hit in found["helpful"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--example ²", "has no example '²'"),
        ("--example ٣", "has no example '٣'"),
        ("--example 1_0", "has no example '1_0'"),
        ("--example " + "1" * 5000, "has no example '1"),
        ("--example 999999", "example 999999 is out of range"),
        ("--example 0 --top 0", "--top 0 is out of range; pass 1 to"),
        ("--example 0 --top 5000000", "--top 5000000 is out of range; pass 1 to"),
        ("--example 0 --top -1", "--top -1 cannot be"),
    ],
)
def test_an_example_or_a_number_of_neighbours_that_cannot_be_is_one_line(words, said, made, capsys):
    fails(capsys, said, "search", "--index", made / "index", "--target", made / "target-features", *words.split())


def test_a_selection_loads_with_datasets_and_its_positions_index_the_pool(made):
    import datasets

    kept = datasets.Dataset.from_parquet(str(made / "subset/kept.parquet"))
    pool = datasets.Dataset.from_parquet(str(made / "pool/examples.parquet"))
    assert pool.select(kept["position"])["id"] == kept["id"]


def test_doctor_tests_a_projection(capsys):
    status, result, _ = run(capsys, "doctor", "--device", "cpu")
    assert status == 0 and result["device"] == "cpu"
    assert result["projection"]["ok"] and 0 < result["projection"]["error"] < result["projection"]["bound"]
    assert isinstance(result["bf16"], bool)


def fails(capsys, said, *arguments):
    status, _, error = run(capsys, *arguments)
    assert status == 2
    assert error.startswith("thresher: error: ") and error.count("\n") == 1, error
    assert said in error, error


def test_bad_input_is_one_line_with_status_2_and_writes_nothing(made, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    (tmp_path / "latin.jsonl").write_bytes('{"text": "é"}\n'.encode("latin-1"))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n')
    corpus, tokenizer = made / "corpus.jsonl", ("--tokenizer", made / "pool-tokenizer")
    ids = pq.read_table(made / "pool/examples.parquet")["id"]
    pq.write_table(pa.table({"id": ids, "weight": np.full(len(ids), np.nan)}), tmp_path / "nan.parquet")

    fails(capsys, "does not exist", "prepare", "--data", tmp_path / "no.jsonl", *tokenizer, *out)
    fails(capsys, "empty.jsonl is empty", "prepare", "--data", tmp_path / "empty.jsonl", *tokenizer, *out)
    fails(capsys, "empty or all blank", "prepare", "--data", tmp_path / "blank.jsonl", *tokenizer, *out)
    fails(capsys, "no column 'body'", "prepare", "--data", corpus, "--text", "body", *tokenizer, *out)
    fails(capsys, "latin.jsonl is not UTF-8", "prepare", "--data", tmp_path / "latin.jsonl", *tokenizer, *out)
    fails(
        capsys, "nan", "train", "--pool", made / "pool", "--model", "20k", "--weights", tmp_path / "nan.parquet", *out
    )
    fails(capsys, "'scores' is needed", "select", "--scores", made / "pool", "--fraction", 0.2, *out)
    fails(capsys, "unknown", "select", "--scores", made / "scores", "--method", "magic", "--fraction", 0.2, *out)
    fails(capsys, "'squad'", "select", "--scores", made / "scores", "--targets", "squad", "--fraction", 0.2, *out)
    fails(capsys, "1.5", "select", "--scores", made / "scores", "--fraction", 1.5, *out)
    fails(
        capsys,
        "--fraction 0 cannot be; give a number above 0, up to 1",
        "select",
        "--scores",
        made / "scores",
        "--fraction",
        0,
        *out,
    )
    fails(capsys, "is no command", "frobnicate")
    fails(capsys, "device 'tpu'", "doctor", "--device", "tpu")
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "blank.jsonl",
        "empty.jsonl",
        "latin.jsonl",
        "nan.parquet",
    ]


def test_a_selection_of_another_pool_is_refused(made, tmp_path, capsys):
    other = tmp_path / "other"
    tokenizer = ("--tokenizer", made / "pool-tokenizer", "--sequence-length", 16)
    run(capsys, "prepare", "--data", made / "corpus.jsonl", "--part", 0.2, 1, *tokenizer, "--out", other)
    subset = made / "subset"
    out = ("--out", tmp_path / "out")
    fails(capsys, "does not select from", "train", "--pool", other, "--selection", subset, "--model", "20k", *out)
    arms = ("--arms", f"a={subset}", "--targets", f"t={made / 'target'}", "--model", "20k")
    fails(capsys, "does not select from", "validate", "--pool", other, *arms, *out)
    fails(capsys, "cannot hold /", "validate", "--pool", made / "pool", "--arms", f"../a={subset}", *arms[2:], *out)
    clash = ("--off-targets", f"t={made / 'target'}")
    fails(capsys, "'t' stands for something else", "validate", "--pool", made / "pool", *arms, *clash, *out)
    assert not (tmp_path / "out").exists()


def test_folders_and_files_in_each_other_s_place_are_said_in_one_line(made, tmp_path, capsys):
    fails(capsys, "is a folder", "run", tmp_path)
    inside = made / "corpus.jsonl" / "x"
    fails(
        capsys,
        "is no folder",
        "prepare",
        "--data",
        made / "corpus.jsonl",
        "--tokenizer",
        made / "pool-tokenizer",
        "--out",
        inside,
    )
    fails(capsys, "--limit -1", "prepare", "--data", made / "corpus.jsonl", "--limit", -1, "--out", tmp_path / "x")


def test_a_checkpoint_of_another_architecture_is_refused(made, tmp_path, capsys):
    import shutil

    from safetensors.torch import load_file, save_file

    from thresher.artifacts import checked_json, hash_file

    shutil.copytree(made / "proxy", tmp_path / "proxy")
    file = tmp_path / "proxy/model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name][:-1].contiguous()}, file)
    meta = json.loads((tmp_path / "proxy/meta.json").read_text())
    meta["files"]["model.safetensors"] = {"bytes": file.stat().st_size, "sha256": hash_file(file)}
    (tmp_path / "proxy/meta.json").write_text(
        checked_json({key: value for key, value in meta.items() if key != "checksum"})
    )
    fails(
        capsys,
        name,
        "featurize",
        "--models",
        tmp_path / "proxy",
        "--examples",
        made / "pool",
        "--out",
        tmp_path / "features",
    )
    assert not (tmp_path / "features").exists()


def test_a_damaged_artefact_is_refused_and_left_alone(made, tmp_path, capsys):
    import shutil

    shutil.copytree(made / "scores", tmp_path / "scores")
    file = tmp_path / "scores/scores.parquet"
    damaged = file.read_bytes()[:-7]
    file.write_bytes(damaged)
    fails(capsys, "is damaged", "select", "--scores", tmp_path / "scores", "--fraction", 0.2, "--out", tmp_path / "out")
    assert file.read_bytes() == damaged and not (tmp_path / "out").exists()


def test_a_finished_artefact_is_not_written_over(made, capsys):
    before = (made / "subset/kept.parquet").read_bytes()
    fails(capsys, "was made with", "select", "--scores", made / "scores", "--fraction", 0.5, "--out", made / "subset")
    assert (made / "subset/kept.parquet").read_bytes() == before


def test_a_full_disk_is_one_line_and_what_is_there_stays(made, tmp_path):
    """A limit on file sizes stands in for a full disk: writes fail in the middle with an error of the same family."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from thresher.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [
        "train",
        "--pool",
        str(made / "pool"),
        "--model",
        "20k",
        "--seed",
        "5",
        "--out",
        str(tmp_path / "proxy"),
        "--quiet",
    ]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("thresher: error: cannot write") and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "proxy").exists()
    assert main(arguments) == 0  # with room again, it resumes


def test_the_traker_backend_stands_behind_the_same_command_and_agrees_in_rank(made, tmp_path, capsys):
    arguments = (
        "score",
        "--pool",
        made / "pool",
        "--targets",
        f"t={made / 'target'}",
        "--models",
        made / "proxy",
        "--k",
        8,  # far fewer than documents: else the kernels of windows and of documents are different ones
    )
    columns = []
    for name, options in {"ours": ("--damping", 1e-3), "traker": ("--backend", "traker")}.items():
        status, result, error = run(capsys, *arguments, *options, "--projection", "normal", "--out", tmp_path / name)
        assert status == 0 and result["kind"] == "scores", error
        columns.append(pq.read_table(tmp_path / name / "scores.parquet")["t"].to_numpy())
    assert np.corrcoef(np.argsort(np.argsort(columns)))[0, 1] > 0.5
