from pathlib import Path

import pytest

from thresher.errors import InputError
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.studies.study_file import read_study, study_text

GOOD = """
name = "mine"
[pool]
data = "pool.jsonl"
[target.squad]
data = ["a.jsonl", "b.jsonl"]
prompt = "context"
continuation = "answer"
weight = 2
[proxy]
count = 3
"""


def write(path: Path, text: str) -> Path:
    (path / "pool.jsonl").touch()
    (path / "study.toml").write_text(text, encoding="utf-8")
    return path / "study.toml"


def test_a_study_is_read_with_defaults_and_paths_relative_to_the_file(tmp_path):
    study = read_study(write(tmp_path, GOOD))
    assert study.pool.data == str(tmp_path / "pool.jsonl")
    assert study.target["squad"].data == ["a.jsonl", "b.jsonl"]  # not there: may be a hub name
    assert study.target["squad"].weight == 2.0
    assert (study.proxy.count, study.reference.seeds, study.select.method) == (3, 3, "dsdm")


def test_the_text_of_a_study_replays_it(tmp_path):
    study = read_study(write(tmp_path, GOOD))
    assert read_study(write(tmp_path, study_text(study))) == study
    odd = Study(
        name='quote " and \\ and é',
        pool=PoolTable(data="p"),
        target={"a b.c": TargetTable(data="t", classify="c", question="\x7f\n?")},
    )
    assert read_study(write(tmp_path, study_text(odd))) == odd


def embedding(model: str, method: str = "embedding") -> str:
    return GOOD + f'[select]\nmethod = "{method}"\nembeddings = "sentence-transformers:{model}"\n'


def test_a_model_of_embeddings_is_looked_for_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("thresher.selection.evidence.find_spec", lambda name: name)
    (tmp_path / "there" / "model").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "there"))
    for written in ("./there/model", "there/model", "~/model", str(tmp_path / "there/model")):
        study = read_study(write(tmp_path, embedding(written)))
        assert study.select.embeddings == f"sentence-transformers:{tmp_path / 'there/model'}"
        again = read_study(write(tmp_path / "runs", study_text(study, beside=tmp_path / "runs")))
        assert again.select == study.select
    assert read_study(write(tmp_path, embedding("owner/name"))).select.embeddings == "sentence-transformers:owner/name"
    with pytest.raises(InputError, match=r"study.toml: select.embeddings .*\./no/model does not exist"):
        read_study(write(tmp_path, embedding("./no/model")))


def test_embeddings_that_this_machine_cannot_make_are_refused_as_the_study_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("thresher.selection.evidence.find_spec", lambda name: None)
    for text in (embedding("owner/name"), embedding("owner/name", "dsdm") + '[validate]\ncontrols = ["d4"]\n'):
        with pytest.raises(InputError, match="need sentence-transformers; pip install"):
            read_study(write(tmp_path, text))
    with pytest.raises(InputError, match="change nothing with dsdm, random, bottom"):
        read_study(write(tmp_path, embedding("owner/name", "dsdm")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "mine"', 'nmae = "mine"'), "unknown key 'nmae'"),
        (("count = 3", "count = 3.5"), "count = 3.5 is float, but int is needed"),
        (("count = 3", "count = 0"), "proxy.count = 0"),
        (("count = 3", 'size = "0.4N"'), "proxy.size: model '0.4N' is unknown"),
        (("count = 3", "fraction = 1.5"), "proxy.fraction = 1.5 is outside (0, 1]"),
        (('prompt = "context"', ""), "needs both prompt and continuation"),
        (('data = "pool.jsonl"', ""), "'data' is missing"),
        (("[target.squad]", "[target]"), "must be a table"),
        (("[proxy]", "[select]\nfraction = 0.0\n[proxy]"), "select.fraction = 0.0 is outside (0, 1]"),
        (("[proxy]", "[reference]\nseeds = 1\n[proxy]"), "needs at least 2"),
        (
            ("[proxy]", '[select]\nmethod = "random"\n[proxy]'),
            "select.method = 'random' is what selections are compared with",
        ),
        (
            ("[proxy]", '[validate]\ncontrols = ["magic"]\n[proxy]'),
            "validate.controls: method 'magic', column 1: 'magic'",
        ),
        (("[proxy]", '[select]\nmethod = "minhash"\n[proxy]'), "'minhash' ends in minhash, which does not rank"),
        (
            ("[proxy]", '[select]\nmethod = "dsdm:0.3"\n[proxy]'),
            "has a fraction of its own; write it as select.fraction",
        ),
        (("[proxy]", '[select]\nembeddings = "bert"\n[proxy]'), "select.embeddings 'bert' say neither where nor how"),
        (("[proxy]", "[select]\ntokens = 0\n[proxy]"), "select.tokens = 0 keeps nothing"),
        (("[proxy]", '[attribution]\nprojection = "none"\n[proxy]'), "[attribution]: projection = 'none' is unknown"),
        (
            ("[proxy]", '[attribution]\ndamping = "auto"\n[proxy]'),
            "damping = 'auto' is unknown; pass one of: loo, a number",
        ),
        (("weight = 2", "weight = -1"), "weight = -1.0; pass 0 or more"),
        (("weight = 2", f"weight = {'1' * 400}"), "weight = 11111111... (400 digits) is beyond all numbers"),
        (("count = 3", f"count = {'1' * 400}"), "proxy.count = 11111111... (400 digits) cannot be"),
        (("count = 3", f"epochs = -{'1' * 400}"), "epochs = -1111111... (400 digits) is beyond all numbers"),
        (
            ("[proxy]", f"[validate]\nrandom_budgets = [1, {'9' * 400}]\n[proxy]"),
            "random_budgets = 99999999... (400 digits) is beyond all numbers",
        ),
        (("[proxy]", f"[attribution]\ndamping = {'1' * 400}\n[proxy]"), "damping = 11111111... (400 digits) is beyond"),
        (("weight = 2", "holdout = 1.0"), "holdout = 1.0; give a share above 0 and below 1"),
        (("[target.squad]", "[target.off-target]"), "cannot be named 'off-target'"),
        (("[proxy]", "[proxy"), "is not TOML"),
        (('name = "mine"', 'task = "audio"'), "'audio' is unknown"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(tmp_path, change, said):
    assert change[0] in GOOD
    with pytest.raises(InputError) as error:
        read_study(write(tmp_path, GOOD.replace(*change)))
    assert said in str(error.value) and "study.toml" in str(error.value)


def test_what_is_only_where_the_person_stands_is_no_file_of_the_study(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match=r"'a.jsonl' is here and not beside the study's file"):
        read_study(write(tmp_path, GOOD))
