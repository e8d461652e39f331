import logging
import os

import pytest

from thresher.artifacts import build, is_sound, piece
from thresher.artifacts import pieces as module
from thresher.errors import InputError


def write(target, text):
    with piece(target) as file:
        file.write_text(text)


def flip(file):
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def swap(file):
    other = file.with_name("other")
    write(other, "something else")
    os.replace(other, file)


DAMAGES = {
    "flipped": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:3]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "swapped with another piece": swap,
    "its seal lost": lambda file: (file.parent / ".seals" / file.name).unlink(),
    "its seal damaged": lambda file: flip(file.parent / ".seals" / file.name),
    "its seal no text": lambda file: (file.parent / ".seals" / file.name).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_piece_is_removed_with_a_warning_and_made_again(tmp_path, damage, caplog):
    target = tmp_path / "piece.bin"
    assert not is_sound(target)
    write(target, "what was made")
    assert is_sound(target)
    damage(target)
    with caplog.at_level(logging.WARNING):
        assert not is_sound(target)
    assert "piece.bin is damaged; it is made again" in caplog.text and not target.exists()
    write(target, "what was made")
    assert is_sound(target)


class Ended(BaseException):
    """What nothing catches."""


def test_whenever_a_process_ends_the_piece_that_is_there_is_believed(tmp_path, monkeypatch):
    """At the rename of the seal and of the piece, before and after, and again and again without success."""
    target = tmp_path / "state"
    write(target, "0")
    said, original = "0", os.replace
    for attempt in range(1, 9):
        renames = []

        def dies(source, to, attempt=attempt, renames=renames):
            renames.append(to)
            if len(renames) == 1 + (attempt // 2) % 2:  # of the seal, or of the piece
                if attempt % 2:
                    original(source, to)
                raise Ended
            original(source, to)

        monkeypatch.setattr("thresher.artifacts.files.os.replace", dies)
        with pytest.raises(Ended):
            write(target, str(attempt))
        monkeypatch.undo()
        said = str(attempt) if attempt % 2 and (attempt // 2) % 2 else said
        assert is_sound(target) and target.read_text() == said


def test_a_piece_that_is_damaged_after_it_was_looked_at_is_not_published(tmp_path):
    def harmed(draft):
        with draft.file("data") as file:
            file.write_text("hello")
        flip(draft.path / "data")

    def whole(draft):
        if not draft.has("data"):
            with draft.file("data") as file:
                file.write_text("hello")

    request = {"kind": "thing", "config": {}, "seed": 0, "inputs": {}}
    with pytest.raises(InputError, match="damaged as it lay; run the same command again"):
        build(tmp_path / "x", **request, write=harmed)
    assert build(tmp_path / "x", **request, write=whole).file("data").read_text() == "hello"


def test_seals_are_no_part_of_what_is_published(tmp_path):
    def one(draft):
        write(draft.state / "step", "1")
        write(draft.path / "data", "2")

    artifact = build(tmp_path / "x", kind="thing", config={}, seed=0, inputs={}, write=one)
    assert sorted(os.listdir(artifact.path)) == ["data", "meta.json"] and list(artifact.meta["files"]) == ["data"]
    assert module.SEALS not in os.listdir(tmp_path)
