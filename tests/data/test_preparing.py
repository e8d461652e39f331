"""A part of a source and what artefacts made from it are known by."""

import json
from dataclasses import asdict

import pytest

from thresher.canonical import hash_json
from thresher.data.examples import open_examples
from thresher.data.preparing import TextPart, learn_tokenizer, overlap_between, prepare_documents
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns

WORDS = "boil the rice with salt and stir the soup then bake the bread in a hot oven".split()


@pytest.fixture
def source(tmp_path):
    rows = [{"text": " ".join([*WORDS[n % 7 :], f"w{n}"]), "id": f"d{n}"} for n in range(40)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source((str(tmp_path / "pool.jsonl"),))


COLUMNS = TextColumns(id="id")


def test_disjoint_parts_share_nothing_and_are_together_everything(source):
    parts = [TextPart(source=source, columns=COLUMNS, part=ends) for ends in ((0, 0.3), (0.3, 1))]
    low, high = ({document.id for document in part.documents()} for part in parts)
    assert not low & high and low | high == {f"d{n}" for n in range(40)}


def test_a_part_with_nobody_in_it_is_empty(source):
    assert TextPart(source=source, columns=COLUMNS, part=(0, 1e-9)).is_empty
    assert not TextPart(source=source, columns=COLUMNS).is_empty


def test_requests_stay_what_they_are_so_that_artefacts_are_found_again(source, tmp_path):
    part = TextPart(source=source, columns=COLUMNS, part=(0.0, 0.5), seed=3)
    tokenizer = learn_tokenizer(part, vocab_size=300, out=tmp_path / "tokenizer")
    columns = hash_json(asdict(COLUMNS))
    inputs = {"source": source.fingerprint(), "columns": columns, "part": hash_json([0.0, 0.5, 3])}
    assert tokenizer.meta["inputs"] == inputs
    pool = prepare_documents(part, tokenizer=tokenizer.path, sequence_length=16, out=tmp_path / "pool")
    config = {"columns": json.loads(json.dumps(asdict(COLUMNS))), "part": [0.0, 0.5], "bad_rows": "refuse"}
    assert pool.meta["config"] == {**config, "pack": True, "sequence_length": 16, "limit": None}
    assert set(pool.meta["inputs"]) == {"source", "tokenizer"} and pool.meta["seed"] == 3


def test_what_overlaps_a_target_is_left_out_and_the_overlap_is_an_input(source, tmp_path):
    target = tmp_path / "target.jsonl"
    target.write_text(json.dumps({"q": " ".join([*WORDS[5:], "w5"])}) + "\n")
    overlap = overlap_between(source, COLUMNS, {"t": target}, ngram=13, out=tmp_path / "overlap")
    part = TextPart(source=source, columns=COLUMNS, overlap=overlap)
    assert part.inputs["overlap"] == overlap.content_hash
    tokenizer = learn_tokenizer(TextPart(source=source, columns=COLUMNS), vocab_size=300, out=tmp_path / "tokenizer")
    pool = prepare_documents(part, tokenizer=tokenizer.path, sequence_length=16, out=tmp_path / "pool")
    assert set(open_examples(pool.path).ids) == {f"d{n}" for n in range(40)} - {"d5"}
