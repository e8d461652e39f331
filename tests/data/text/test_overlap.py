"""Leakage: runs of words shared between pool and targets, against a search of every run by hand."""

import json
import random

import pyarrow.parquet as pq
import pytest

from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.preparing import overlap_between
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_whole_rows
from thresher.data.text.overlap import Finder, find_overlap, words_of
from thresher.errors import InputError
from thresher.studies.preparation import prepare
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.workspace import Workspace

LEAK = "the old lighthouse keeper counted seven small white boats before the fog came in that evening"


def random_text(draw, size):
    return " ".join(draw.choice("a b c d e f g h".split()) for _ in range(size))


def runs(text, n):
    words = words_of(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_hits_are_those_of_comparing_every_run_by_hand(monkeypatch):
    monkeypatch.setattr("thresher.data.text.overlap.BLOCK_CHARACTERS", 300)
    draw, n = random.Random(0), 4
    pool = [Document(str(i), "", random_text(draw, draw.randint(0, 40))) for i in range(60)]
    targets = {name: [Document(f"{name}{i}", "", random_text(draw, size), "q") for i in range(6)] for name, size in (("x", 9), ("y", 3), ("z", 2))}  # fmt: skip  # noqa: E501
    finder = Finder(targets, n)
    hits = {(hit.document, hit.target): hit for hit in finder.hits(pool)}
    expected = {
        (document.id, name): {one.id for one in own if runs(f"{one.prompt} {one.text}", n) & runs(document.text, n)}
        for document in pool
        for name, own in targets.items()
    }
    expected = {key: examples for key, examples in expected.items() if examples}
    assert hits.keys() == expected.keys() and len(hits) > 5
    for key, hit in hits.items():
        assert hit.example in expected[key]
        assert tuple(hit.words.split()) in runs(pool[int(hit.document)].text, n)
    facts = finder.facts()
    for name in targets:
        found = facts["targets"][name]
        assert found["documents_hit"] == sum(key[1] == name for key in expected)
        assert found["examples_hit"] == len({e for key, own in expected.items() if key[1] == name for e in own})
        assert found["too_short"] == (6 if name == "z" else 0)
    assert facts["documents"] == 60 and facts["documents_hit"] == len({key[0] for key in expected})


def test_case_and_punctuation_do_not_hide_a_copy_and_runs_do_not_cross_documents():
    target = {"t": [Document("e", "", LEAK)]}
    half = LEAK.split()
    pool = [
        Document("copy", "", f"He wrote: {LEAK.upper().replace(' ', ', ')}!"),
        Document("first half", "", " ".join(half[:8])),
        Document("second half", "", " ".join(half[8:])),
    ]
    assert [hit.document for hit in Finder(target, 13).hits(pool)] == ["copy"]


@pytest.mark.parametrize("many", [2, 16, 17])
def test_a_row_s_texts_are_looked_for_one_after_the_other_in_either_order(tmp_path, many):
    first, second = LEAK.split()[:8], LEAK.split()[8:]
    words = [f"w{i}a w{i}b w{i}c" for i in range(many - 2)]
    texts = {"question": " ".join(first), "answer": " ".join(second)} | {f"c{i}": text for i, text in enumerate(words)}
    pool = [Document("copy", "", f"quiz: {LEAK}"), Document("back", "", " ".join([*second, *first])),
            Document("half", "", " ".join(first))]  # fmt: skip
    for order in (list(texts), list(texts)[::-1], ["answer", *[f"c{i}" for i in range(many - 2)], "question"]):
        write(tmp_path / "target.jsonl", [{"number": 1} | {name: texts[name] for name in order}])
        finder = Finder({"t": read_whole_rows(Source((str(tmp_path / "target.jsonl"),)))}, 10)
        found = {hit.document for hit in finder.hits(pool)}
        if many <= 16:
            assert found == {"copy", "back"}
        assert finder.facts()["targets"]["t"]["too_short"] == 0


def test_a_run_of_no_words_is_refused(tmp_path):
    with pytest.raises(InputError, match="ngram=0"):
        find_overlap(lambda: [], {}, out=tmp_path / "x", ngram=0, inputs={}, config={})


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture()
def leaking(tmp_path, corpus):
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    rows[4]["text"] += " " + LEAK
    write(tmp_path / "pool.jsonl", rows)
    questions = [{"q": f"what happened on day {n}?", "a": f"nothing on day {n}", "n": n} for n in range(20)]
    questions[7]["q"] = LEAK
    write(tmp_path / "target.jsonl", questions)
    return tmp_path


def test_the_commands_report_a_leak_and_remove_it(leaking, capsys):
    common = ["--data", str(leaking / "pool.jsonl"), "--id", "id", "--json", "--quiet"]
    target = f"t={leaking / 'target.jsonl'}"
    assert main(["overlap", *common, "--targets", target, "--out", str(leaking / "overlap")]) == 0
    found = json.loads(capsys.readouterr().out)["targets"]["t"]
    assert (found["examples"], found["examples_hit"], found["documents_hit"]) == (20, 1, 1)
    assert found["hits"][0]["document"] == "sailing-4" and found["hits"][0]["example"] == "7"
    shape = ["--vocab-size", "300", "--sequence-length", "16"]
    assert main(["prepare", *common, *shape, "--decontaminate", target, "--out", str(leaking / "pool")]) == 0
    pool = open_examples(leaking / "pool")
    documents = {id for ids in pool.column("documents") for id in ids}
    assert len(documents) == 59 and "sailing-4" not in documents
    assert pool.artifact.facts["skipped"] == {"overlaps target t": 1}
    (row,) = pq.read_table(leaking / "pool" / "skipped.parquet").to_pylist()
    assert (row["id"], row["reason"]) == ("sailing-4", "overlaps target t")


def test_the_text_of_a_target_that_is_one_object_is_looked_at_beside_its_lists(leaking):
    row = {"q": LEAK, "answers": [{"text": "he counted boats", "start": 3}]}
    for rows in ([row], [row, row | {"q": "another"}]):
        write(leaking / "one.jsonl", rows)
        found = overlap_between(
            Source((str(leaking / "pool.jsonl"),)),
            TextColumns(id="id"),
            {"t": leaking / "one.jsonl"},
            out=leaking / f"overlap-{len(rows)}",
        )
        facts = found.facts["targets"]["t"]
        assert (facts["examples"], facts["examples_hit"], facts["documents_hit"]) == (len(rows), 1, 1)


@pytest.mark.parametrize("decontaminate", [False, True])
def test_a_study_reports_leaks_always_and_removes_them_when_asked(leaking, decontaminate):
    study = Study(
        pool=PoolTable(data=str(leaking / "pool.jsonl"), id="id", decontaminate=decontaminate, holdout=0.0),
        target={"t": TargetTable(data=str(leaking / "target.jsonl"), prompt="q", continuation="a")},
        vocab_size=300,
        sequence_length=16,
    )
    prepared = prepare(study, Workspace(leaking / "run"))
    assert prepared.overlap is not None and prepared.overlap.facts["targets"]["t"]["documents_hit"] == 1
    documents = {id for ids in prepared.pool.column("documents") for id in ids}
    assert ("sailing-4" in documents) == (not decontaminate)
    assert len(prepared.targets["t"]) + len(prepared.heldout["t"]) == 20
