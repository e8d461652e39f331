"""An option that changes nothing where it stands is refused by name, before anything is looked at."""

import pytest

from thresher.cli.main import main

PREPARE = "prepare --data x.jsonl --out o"
VISION, LABELLED = f"{PREPARE} --task vision", f"{PREPARE} --task text-classification"
TRANSFER = "study transfer --pool p --test-sets t=t --recipes all=all web=domain:web --sizes 20k 30k --out o"
RUNS = "mix runs --pool p --targets t=t --out o"
IDLE = {
    f"{PREPARE} --question Why": "--question changes nothing without --classify",
    f"{PREPARE} --classes a b": "--classes changes nothing without --classify or --task",
    f"{PREPARE} --text a --prompt b --continuation c": "--text changes nothing beside --continuation",
    f"{PREPARE} --text a --prompt b --choices c --gold d": "--text changes nothing beside --choices",
    f"{PREPARE} --size 8": "--size changes nothing with task language, it is of vision; leave it out",
    f"{PREPARE} --image i": "--image changes nothing with task language",
    f"{PREPARE} --label l": "--label changes nothing with task language, it is of vision and text-classification",
    f"{VISION} --prompt a --continuation b": "--prompt changes nothing with task vision, it is of language",
    f"{VISION} --text t": "--text changes nothing with task vision, it is of language and text-classification",
    f"{VISION} --domain d": "--domain changes nothing with task vision",
    f"{VISION} --tokenizer t": "--tokenizer changes nothing with task vision",
    f"{VISION} --decontaminate t=t.jsonl": "--decontaminate changes nothing with task vision",
    f"{LABELLED} --choices c --gold g": "--choices changes nothing with task text-classification, it is of language",
    f"{LABELLED} --domain d": "--domain changes nothing with task text-classification",
    f"{LABELLED} --size 8": "--size changes nothing with task text-classification",
    "explore s --pool p --port 8000": "--port changes nothing without --serve",
    "explore s --pool p --serve --page-mb 2": "--page-mb changes nothing beside --serve",
    "explore s --pool p --serve --out x.html": "--out changes nothing beside --serve",
    "select --method random:0.1 --pool p --out o --embeddings column:e": (
        "embeddings 'column:e' change nothing with random:0.1"
    ),
    "validate --pool p --arms a=a --targets t=t --out o --costs a=5": "--costs changes nothing without --random",
    f"{RUNS} --tokens 9 --examples 9": "--examples changes nothing beside --tokens",
    f"{RUNS} --design ddo --first 9": "--first changes nothing in a ddo",
    f"{RUNS} --design ddo --batch 9": "--batch changes nothing in a ddo",
    "mix doremi --pool p --out o --tokens 9 --examples 9": "--examples changes nothing beside --tokens",
    "mix validate --pool p --targets t=t --mixtures m=m --out o --tokens 9 --examples 9": (
        "--examples changes nothing beside --tokens"
    ),
    f"{TRANSFER} --targets t=t": "--targets changes nothing without a recipe that selects",
    f"{TRANSFER} --models hf:a/b": "--models changes nothing without a recipe that selects",
    "study from-table x.csv --average 2": "--average changes nothing without --step",
    "study from-table x.csv --at-step 2": "--at-step changes nothing without --step",
    "study from-table x.csv --losses l/* --test-set s": "--test-set changes nothing beside --losses",
}


@pytest.mark.parametrize("line", IDLE)
def test_an_option_that_changes_nothing_is_refused(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("x.jsonl", "x.csv", "t.jsonl", "p", "s", "t", "a", "m"):
        (tmp_path / name).write_text("")
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert IDLE[line] in error and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_what_has_an_effect_is_not_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f'{{"text": "word {n} of many", "kind": "{"ab"[n % 2]}"}}\n' for n in range(40))
    (tmp_path / "x.jsonl").write_text(rows)
    for options in (
        "--out a --vocab-size 300 --decontaminate t=x.jsonl --ngram 9",
        "--out b --vocab-size 300 --classify kind --question Kind: --classes a b",
        "--out c --vocab-size 300 --task text-classification --label kind --classes b a",
    ):
        assert main(["prepare", "--data", "x.jsonl", *options.split(), "--quiet"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--ngram 5", "--ngram changes nothing without --decontaminate; add it, or leave --ngram out"),
        ("--tokenizer a-tokenizer --vocab-size 400", "--vocab-size changes nothing beside --tokenizer"),
        ("--tokenizer a-tokenizer --sequence-length 9", None),
    ],
)
def test_what_only_says_how_something_is_made_that_is_not_is_warned_of(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text("".join(f'{{"text": "word {n} of many"}}\n' for n in range(40)))
    assert main("prepare --data x.jsonl --vocab-size 300 --out a --quiet".split()) == 0
    assert main(["prepare", "--data", "x.jsonl", "--out", "b", *options.split(), "--quiet"]) == 0
    error = capsys.readouterr().err
    assert (f"warning: {said}" in error) if said else "changes nothing" not in error
