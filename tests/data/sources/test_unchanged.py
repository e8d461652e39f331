"""A source that changes while it is read is refused: what is made of it says what it was made of."""

import json
import os

import pytest

from thresher.data.preparing import TextPart
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.errors import InputError


def write_rows(file, count, word="word"):
    file.write_text("".join(json.dumps({"text": f"{word} {i}"}) + "\n" for i in range(count)))


def append(file):
    with open(file, "a") as opened:
        opened.write(json.dumps({"text": "one more"}) + "\n")


def rewrite(file):
    write_rows(file, 50, "what")


def replace(file):
    write_rows(file.with_suffix(".new"), 50, "what")
    os.replace(file.with_suffix(".new"), file)


@pytest.mark.parametrize("change", [append, rewrite, replace, os.unlink])
@pytest.mark.parametrize("after", [0, 30, 49])
def test_a_file_that_changes_between_its_hash_and_its_last_row_is_refused(tmp_path, change, after):
    file = tmp_path / "pool.jsonl"
    write_rows(file, 50)
    os.utime(file, (1, 1))
    source = Source((str(file),))
    source.fingerprint()
    with pytest.raises(InputError, match=r"pool.jsonl changed while it was read; wait until it is written") as error:
        for number, _ in enumerate(source.read(["text"])):
            if number == after:
                change(file)
    assert "\n" not in str(error.value)


def test_a_file_that_changes_between_two_passes_is_refused(tmp_path):
    file = tmp_path / "pool.jsonl"
    write_rows(file, 50)
    part = TextPart(source=Source((str(file),)), columns=TextColumns())
    assert part.inputs and len(list(part.documents())) == 50
    append(file)
    with pytest.raises(InputError, match="changed while it was read"):
        list(part.documents())


def test_an_unread_rest_that_changes_is_no_matter(tmp_path):
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_rows(file, 5)
    write_rows(other, 5)
    rows = Source((str(file), str(other))).read(["text"])
    assert next(rows).values == {"text": "word 0"}
    append(other)
    assert next(rows).values == {"text": "word 1"}
