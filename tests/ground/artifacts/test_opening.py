"""What is published is believed only as it was written: every byte, whatever the size."""

import json
import os
import shutil

import pytest

from thresher.artifacts import artifact as module
from thresher.artifacts import build, open_artifact, read_checked
from thresher.artifacts.files import write_checked
from thresher.errors import InputError

REQUEST = {"kind": "thing", "config": {"rate": 0.125}, "seed": 3, "inputs": {"pool": "12"}}


def make(path):
    def write(draft):
        for name in ("one", "two"):
            with draft.file(name) as file:
                file.write_bytes(name.encode() * 40)
        return {"count": 10}

    return build(path, **REQUEST, write=write)


def test_every_bit_of_every_file_is_watched(tmp_path):
    """A digit of the facts, a letter of a key, a blank between them: nothing of meta.json is believed by itself."""
    make(tmp_path / "x")
    for file in sorted((tmp_path / "x").iterdir()):
        raw = file.read_bytes()
        for place in range(len(raw)):
            changed = bytearray(raw)
            changed[place] ^= 1 << place % 8
            file.write_bytes(changed)
            with pytest.raises(InputError) as error:
                open_artifact(tmp_path / "x")
            assert "\n" not in str(error.value)
        file.write_bytes(raw)
    assert open_artifact(tmp_path / "x").facts["count"] == 10


def test_a_file_that_is_changed_and_put_back_in_time_is_hashed_again(tmp_path, monkeypatch):
    """The times can be set to what they were; the time that the system keeps of that cannot."""
    make(tmp_path / "x")
    file = tmp_path / "x/one"
    monkeypatch.setattr(module, "SETTLED_SECONDS", -60.0)  # believe stamps at once
    open_artifact(tmp_path / "x")
    before, raw = file.stat(), bytearray(file.read_bytes())
    raw[7] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="damaged or missing"):
        open_artifact(tmp_path / "x")


def test_a_file_is_hashed_once_by_a_process_unless_it_was_just_written_or_verification_is_asked_for(
    tmp_path, monkeypatch
):
    make(tmp_path / "x")
    hashed, original = [], module.hash_file
    monkeypatch.setattr(module, "hash_file", lambda file: hashed.append(file.name) or original(file))
    for _ in range(2):
        open_artifact(tmp_path / "x")
    assert sorted(hashed) == ["one", "one", "two", "two"]  # written a moment ago: a change now could go unseen
    monkeypatch.setattr(module, "SETTLED_SECONDS", -60.0)
    for _ in range(3):
        open_artifact(tmp_path / "x")
    assert len(hashed) == 6
    open_artifact(tmp_path / "x", verify=True)
    assert len(hashed) == 8


def test_many_bytes_are_hashed_by_threads_and_checked_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WORTH_THREADS", 8)
    make(tmp_path / "x")
    open_artifact(tmp_path / "x")
    (tmp_path / "x/two").write_bytes(b"two" * 39 + b"twO")
    with pytest.raises(InputError, match="two is damaged or missing"):
        open_artifact(tmp_path / "x")


def as_older(path):
    """meta.json as versions before the checksum wrote it."""
    meta = read_checked(path / "meta.json") | {"schema": 2}
    (path / "meta.json").write_text(json.dumps(meta, indent=1))


def test_an_artefact_of_the_older_schema_is_read_and_is_the_same_request(tmp_path):
    content = make(tmp_path / "x").content_hash
    as_older(tmp_path / "x")
    again = make(tmp_path / "x")
    assert not again.built and again.content_hash == content


def test_a_newer_meta_json_cannot_pass_for_an_older_one(tmp_path):
    make(tmp_path / "x")
    file = tmp_path / "x/meta.json"
    file.write_text(file.read_text().replace('"schema": 3', '"schema": 2').replace('"count": 10', '"count": 11'))
    with pytest.raises(InputError, match=r"meta.json is damaged"):
        open_artifact(tmp_path / "x")


@pytest.mark.parametrize(
    "entries",
    [
        {"../other": {"bytes": 1, "sha256": "0"}},
        {"/etc/passwd": {"bytes": 1, "sha256": "0"}},
        {"one": {"bytes": 1}},
        {"one": 3},
        ["one"],
        None,
    ],
)
def test_entries_that_no_maker_writes_are_refused(tmp_path, entries):
    make(tmp_path / "x")
    write_checked(tmp_path / "x/meta.json", read_checked(tmp_path / "x/meta.json") | {"files": entries})
    with pytest.raises(InputError, match=r"meta.json is damaged"):
        open_artifact(tmp_path / "x")


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'"meta"', b"{}", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_meta_json_that_is_something_else_is_refused_in_one_line(tmp_path, text):
    make(tmp_path / "x")
    (tmp_path / "x/meta.json").write_bytes(text)
    with pytest.raises(InputError, match=r"meta.json is damaged"):
        open_artifact(tmp_path / "x")


def test_two_artefacts_whose_files_were_swapped_are_refused(tmp_path):
    make(tmp_path / "x")
    shutil.copy(tmp_path / "x/one", tmp_path / "kept")
    shutil.copy(tmp_path / "x/two", tmp_path / "x/one")
    shutil.copy(tmp_path / "kept", tmp_path / "x/two")
    with pytest.raises(InputError, match="one is damaged or missing"):
        open_artifact(tmp_path / "x")
