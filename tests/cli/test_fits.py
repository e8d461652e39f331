"""One check wherever a model meets data, from the command line: status 2, one line, nothing trained or written."""

import json

import pytest
import torch

from tests.proxies.models.checkpoint_cases import DECODER, save, seeded
from tests.toy_corpus import write_corpus
from thresher.cli.main import main


def run(capsys, *arguments):
    """(status, stdout, stderr) of one command."""
    capsys.readouterr()
    status = main([*map(str, arguments), "--quiet"])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pool and target of one tokenizer, a target of another, a proxy of the pool, and a checkpoint that names no
    tokenizer, with features of all three."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("fits")
    corpus = write_corpus(folder / "corpus.jsonl", 30)
    other = folder / "other.jsonl"
    other.write_text("".join(json.dumps({"text": f"{n} quite other words {n * 7}"}) + "\n" for n in range(30)))

    def do(*arguments):
        assert main([*map(str, arguments), "--quiet"]) == 0

    prepare, shape = ("prepare", "--id", "id", "--data", corpus), ("--sequence-length", 16)
    do(*prepare, "--part", 0.3, 1, "--vocab-size", 300, *shape, "--out", folder / "pool")
    do(*prepare, "--part", 0, 0.3, "--tokenizer", folder / "pool-tokenizer", *shape, "--out", folder / "target")
    do("prepare", "--data", other, "--vocab-size", 320, *shape, "--out", folder / "foreign")
    do(*prepare, "--tokenizer", folder / "pool-tokenizer", "--sequence-length", 64, "--out", folder / "long")
    do("train", "--pool", folder / "pool", "--model", "20k", "--out", folder / "proxy")
    torch.manual_seed(0)
    save(seeded(LlamaForCausalLM, LlamaConfig(**DECODER | {"vocab_size": 400})), folder / "nameless")
    for name in ("pool", "target", "foreign"):
        given = ("featurize", "--models", folder / "nameless", "--examples", folder / name, "--k", 16)
        do(*given, "--out", folder / f"{name}-features")
    do("index", "--features", folder / "pool-features", "--out", folder / "index")
    return folder


COMMANDS = {
    "train": "train --model hf:{f}/labelled --pool {f}/foreign --out {o}/x",
    "featurize": "featurize --models {f}/proxy --examples {f}/foreign --out {o}/x",
    "score, of features": "score --pool {f}/pool-features --targets t={f}/foreign-features --out {o}/x",
    "score, of examples": "score --pool {f}/pool --targets t={f}/foreign --models {f}/proxy --out {o}/x",
    "score, models of no tokenizer": "score --pool {f}/pool --targets t={f}/foreign --models {f}/nameless --out {o}/x",
    "dual": "score --scorer dual --pool {f}/pool --targets t={f}/foreign --models {f}/proxy --out {o}/x",
    "direction": "score --scorer direction --pool {f}/pool --targets t={f}/foreign --models {f}/proxy --out {o}/x",
    "search": "search --index {f}/index --target {f}/foreign-features --example 0",
    "lds": "lds --pool {f}/pool --target {f}/foreign --model 20k --subsets 3 --checkpoints 1 --out {o}/x",
    "lds, a ladder": "lds --pool {f}/pool --target {f}/foreign --model 20k --ladder 30k --subsets 3 --out {o}/x",
    "select": "select --pool {f}/pool --targets t={f}/foreign --models {f}/proxy --method embedding "
    "--fraction 0.5 --out {o}/x",
    "validate": "validate --pool {f}/pool --arms a={f}/subset --targets t={f}/foreign --model 20k --out {o}/x",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_another_tokenizer_are_refused(name, made, tmp_path, capsys):
    if name == "train":
        import shutil

        shutil.copytree(made / "nameless", made / "labelled", dirs_exist_ok=True)
        shutil.copy(made / "pool-tokenizer" / "tokenizer.json", made / "labelled")
    if name == "validate" and not (made / "subset").exists():
        arguments = (
            "select",
            "--pool",
            made / "pool",
            "--method",
            "random",
            "--fraction",
            0.5,
            "--out",
            made / "subset",
        )
        assert run(capsys, *arguments)[0] == 0
    status, out, error = run(capsys, *COMMANDS[name].format(f=made, o=tmp_path).split())
    assert status == 2 and out == "" and error.count("\n") == 1, error
    assert "another tokenizer" in error
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_text_longer_than_the_model_reads_is_refused_with_the_length_to_prepare(made, tmp_path, capsys):
    arguments = ("featurize", "--models", made / "nameless", "--examples", made / "long", "--out", tmp_path / "x")
    status, _, error = run(capsys, *arguments)
    assert status == 2 and "sequence_length 64" in error and "--sequence-length 32" in error


def test_featurising_shows_loss_and_accuracy_beside_a_guess(made, tmp_path, capsys):
    for name, is_guess in (("proxy", False), ("nameless", True)):
        arguments = ("featurize", "--models", made / name, "--examples", made / "pool", "--k", 16)
        status, out, error = run(capsys, *arguments, "--out", tmp_path / name)
        assert status == 0, error
        line = next(line for line in out.splitlines() if line.startswith(str(made / name)))
        assert "loss" in line and "a uniform guess: 5.7" in line and "accuracy" in line
        assert ("no better than a guess" in line) is is_guess


def test_a_model_that_says_the_same_of_everything_is_refused(made, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    constant = save(_constant(), tmp_path / "constant")
    tensors = load_file(constant / "model.safetensors")
    save_file(
        tensors | {"lm_head.weight": tensors["lm_head.weight"] * 0}, constant / "model.safetensors", {"format": "pt"}
    )
    arguments = ("featurize", "--models", constant, "--examples", made / "pool", "--k", 16, "--out", tmp_path / "x")
    status, _, error = run(capsys, *arguments)
    assert status == 2 and "gives the same logits for every example" in error


def test_tied_scores_are_said(made, tmp_path, capsys):
    arguments = ("score", "--pool", made / "pool-features", "--targets", f"t={made / 'target-features'}")
    status, out, _ = run(capsys, *arguments, "--out", tmp_path / "plain")
    assert status == 0 and "share their score" not in out
    twice = tmp_path / "twice.jsonl"
    rows = [{"text": f"the wind fills the sail {n // 2}"} for n in range(8)]
    twice.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = ("--tokenizer", made / "pool-tokenizer", "--sequence-length", 16)
    assert run(capsys, "prepare", "--data", twice, *shape, "--out", tmp_path / "pool")[0] == 0
    arguments = ("score", "--pool", tmp_path / "pool", "--targets", f"t={made / 'target'}", "--models", made / "proxy")
    status, out, error = run(capsys, *arguments, "--k", 16, "--out", tmp_path / "scores")
    assert status == 0, error
    assert "8 examples share their score with others" in out


def _constant():
    from transformers import LlamaConfig, LlamaForCausalLM

    return seeded(LlamaForCausalLM, LlamaConfig(**DECODER | {"vocab_size": 400}))
