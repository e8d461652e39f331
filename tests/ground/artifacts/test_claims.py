"""Who may write an artefact: one process at a time, of this machine or another, whatever ends it."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from thresher.artifacts import build, claims, mounts
from thresher.artifacts.claims import claimed, lock_of
from thresher.errors import InputError

REQUEST = {"kind": "thing", "config": {}, "seed": 0, "inputs": {}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(claims, "SETTLE_SECONDS", 0.02)


def left_by(path, machine, token="theirs", beats=7):
    """A lock file as a process of another machine left it: nothing of this machine's system holds it."""
    record = {"machine": machine, "host": "node7", "pid": 1, "token": token, "beats": beats}
    lock_of(path).write_text(json.dumps(record))


def test_a_claim_is_held_once_and_leaves_nothing(tmp_path):
    with claimed(tmp_path / "x"):
        with pytest.raises(InputError, match="another process is writing") as error, claimed(tmp_path / "x"):
            pass
        assert "\n" not in str(error.value) and os.listdir(tmp_path) == [".x.lock"]
    with claimed(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == []


def test_what_a_dead_process_of_this_machine_left_is_taken_at_once(tmp_path, monkeypatch):
    script = f"""
        import os
        from pathlib import Path
        from thresher.artifacts.claims import claimed
        with claimed(Path({str(tmp_path / "x")!r})):
            os._exit(9)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)])
    assert ended.returncode == 9 and lock_of(tmp_path / "x").exists()
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: pytest.fail("waited"))
    with claimed(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == []


def test_another_machine_that_shows_no_life_is_succeeded(tmp_path, caplog):
    left_by(tmp_path / "x", "another start of another machine")
    with claimed(tmp_path / "x"):
        assert json.loads(lock_of(tmp_path / "x").read_text())["token"] != "theirs"
    assert "node7 that shows no life" in caplog.text and os.listdir(tmp_path) == []


def test_another_machine_that_lives_keeps_its_claim_whatever_the_clocks_say(tmp_path, monkeypatch):
    """Only the count is looked at: here the clock stands still, and the file looks years old."""
    place = tmp_path / "x"
    left_by(place, "another machine")
    os.utime(lock_of(place), (0, 0))
    monkeypatch.setattr(claims.time, "time", lambda: 0.0)
    waits, wait = [], claims.time.sleep

    def beats(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            left_by(place, "another machine", beats=8)
        wait(seconds)

    monkeypatch.setattr(claims.time, "sleep", beats)
    with pytest.raises(InputError, match="a process on node7 is writing"), claimed(place):
        pass
    assert json.loads(lock_of(place).read_text())["token"] == "theirs"


def test_a_holder_shows_that_it_lives(tmp_path):
    with claimed(tmp_path / "x"):
        first = json.loads(lock_of(tmp_path / "x").read_text())["beats"]
        for _ in range(500):
            if json.loads(lock_of(tmp_path / "x").read_text())["beats"] > first + 1:
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail("no beat")


@pytest.mark.parametrize("theft", ["removed", "taken over", "replaced"])
def test_who_lost_the_claim_publishes_nothing(tmp_path, theft):
    place = tmp_path / "x"

    def write(draft):
        with draft.file("data") as file:
            file.write_text("hello")
        if theft != "taken over":
            lock_of(place).unlink()
        if theft != "removed":
            left_by(place, "another machine")

    with pytest.raises(InputError, match="removed or taken over") as error:
        build(place, **REQUEST, write=write)
    assert "\n" not in str(error.value) and not place.exists()
    assert lock_of(place).exists() == (theft != "removed")
    # The work itself is there: whoever comes next goes on with it.
    lock_of(place).unlink(missing_ok=True)
    build(place, **REQUEST, write=lambda draft: None if draft.has("data") else pytest.fail("lost"))
    assert os.listdir(tmp_path) == ["x"]


def test_a_lock_file_that_was_removed_by_its_holder_is_not_taken_for_a_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, the holder of before may have removed it."""
    place, original, calls = tmp_path / "x", fcntl.flock, []

    def removed(descriptor, operation):
        calls.append(operation)
        if len(calls) == 1:
            lock_of(place).unlink()
        original(descriptor, operation)

    monkeypatch.setattr(claims.fcntl, "flock", removed)
    with claimed(place):
        assert lock_of(place).exists()
        with pytest.raises(InputError, match="another process"), claimed(place):
            pass
    assert len(calls) == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{", b'{"machine": null}'])
def test_a_damaged_lock_file_is_no_claim(tmp_path, content):
    lock_of(tmp_path / "x").write_bytes(content)
    with claimed(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def none(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(claims.fcntl, "flock", none)
    with pytest.raises(InputError, match=r"file system without locks .*give a place on another disk"):
        build(tmp_path / "x", **REQUEST, write=lambda draft: None)


def test_two_machines_that_claim_at_once_where_locks_do_not_reach_leave_one(tmp_path, monkeypatch):
    """The other writes its name after ours, in the time that is waited for that."""
    place = tmp_path / "x"
    monkeypatch.setattr(claims, "locks_reach_others", lambda folder: False)
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: left_by(place, "another machine"))
    with pytest.raises(InputError, match="taken over"), claimed(place):
        pass


@pytest.mark.parametrize(
    ("line", "reach", "local"),
    [
        ("/dev/vda /data ext4 rw,relatime 0 0", True, True),
        ("server:/data /data nfs4 rw,vers=4.2,local_lock=none 0 0", True, False),
        ("server:/data /data nfs rw,vers=3,nolock,local_lock=all 0 0", False, False),
        ("10.0.0.1@tcp:/x /data lustre rw,flock 0 0", True, False),
        ("10.0.0.1@tcp:/x /data lustre rw,localflock 0 0", False, False),
        ("user@host: /data fuse.sshfs rw 0 0", False, False),
        ("share /data virtiofs rw 0 0", False, False),
    ],
)
def test_which_locks_reach_other_machines_is_read_from_the_mounts(tmp_path, monkeypatch, line, reach, local):
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vdb / ext4 rw 0 0\n{line.replace('/data', str(tmp_path / 'data'), 2)}\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    mounts._mount.cache_clear()
    assert mounts.locks_reach_others(tmp_path / "data/sub") == reach
    assert mounts.is_local(tmp_path / "data/sub") == local
    assert mounts.is_local(tmp_path)
    mounts._mount.cache_clear()


def test_a_claim_that_cannot_be_written_down_leaves_nothing_and_names_the_file(tmp_path, monkeypatch):
    def full(descriptor, text, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(claims.os, "pwrite", full)
    with pytest.raises(OSError) as error, claimed(tmp_path / "x"):
        pass
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(lock_of(tmp_path / "x"))
    assert os.listdir(tmp_path) == []
