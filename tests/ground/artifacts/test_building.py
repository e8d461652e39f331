import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from thresher.artifacts import atomic_file, build, discard, open_artifact
from thresher.artifacts.files import read_checked, write_checked
from thresher.errors import InputError


def make(path, *, config=None, inputs=None, text="hello", seed=0):
    def write(draft):
        with draft.file("data.txt") as file:
            file.write_text(text)
        return {"num_rows": 1}

    return build(
        path, kind="thing", config=config or {"a": 1}, seed=seed, inputs=inputs or {"pool": "1234"}, write=write
    )


def test_a_finished_artefact_is_opened_and_not_made_again(tmp_path):
    first = make(tmp_path / "x")
    second = make(tmp_path / "x", text="never written")
    assert first.built and not second.built
    assert second.file("data.txt").read_text() == "hello"
    assert second.facts["num_rows"] == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": {"a": 2}}, "config.a = 1, this run has 2"),
        ({"inputs": {"pool": "5678"}}, 'inputs.pool = "1234", this run has "5678"'),
        ({"seed": 9}, "seed = 0, this run has 9"),
    ],
)
def test_another_request_is_refused_with_both_values_and_nothing_is_written_over(tmp_path, changed, said):
    make(tmp_path / "x")
    with pytest.raises(InputError, match="give another output path") as error:
        make(tmp_path / "x", text="other", **changed)
    assert said in str(error.value)
    assert (tmp_path / "x/data.txt").read_text() == "hello"


def test_a_folder_that_is_no_artefact_is_refused_and_kept(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="half-written or not an artefact"):
        make(tmp_path / "x")
    assert (tmp_path / "x/mine.txt").read_text() == "mine"


def test_a_failed_write_publishes_nothing_and_a_second_try_continues(tmp_path):
    done = []

    def write(draft, fail):
        for name in ("a", "b"):
            if not draft.has(name):
                with draft.file(name) as file:
                    file.write_text(name)
                    if fail and name == "b":
                        raise OSError("disk")
                done.append(name)

    request = {"kind": "thing", "config": {}, "seed": 0, "inputs": {}}
    with pytest.raises(OSError, match="disk"):
        build(tmp_path / "x", **request, write=lambda draft: write(draft, True))
    assert not (tmp_path / "x").exists()
    build(tmp_path / "x", **request, write=lambda draft: write(draft, False))
    assert done == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == ["x"]
    assert sorted(os.listdir(tmp_path / "x")) == ["a", "b", "meta.json"]


def test_what_another_request_began_is_refused(tmp_path):
    def fail(draft):
        raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        build(tmp_path / "x", kind="thing", config={"a": 1}, seed=0, inputs={}, write=fail)
    with pytest.raises(InputError, match=r"\.x\.partial was made with config\.a = 1, this run has 2"):
        build(tmp_path / "x", kind="thing", config={"a": 2}, seed=0, inputs={}, write=lambda draft: None)


def damage_byte(path):
    data = bytearray((path / "data.txt").read_bytes())
    data[0] ^= 1
    (path / "data.txt").write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_byte, "damaged or missing"),
        (lambda path: (path / "data.txt").unlink(), "damaged or missing"),
        (lambda path: (path / "data.txt").write_text("longer than before"), "damaged or missing"),
        (lambda path: (path / "meta.json").write_text("{"), "meta.json is damaged"),
        (lambda path: (path / "meta.json").unlink(), "half-written"),
    ],
)
def test_a_damaged_artefact_is_refused(tmp_path, damage, said):
    make(tmp_path / "x")
    damage(tmp_path / "x")
    with pytest.raises(InputError, match=said):
        open_artifact(tmp_path / "x")


def test_the_wrong_kind_and_a_newer_schema_are_refused(tmp_path):
    make(tmp_path / "x")
    with pytest.raises(InputError, match="holds 'thing', but 'scores' is needed"):
        open_artifact(tmp_path / "x", "scores")
    write_checked(tmp_path / "x/meta.json", read_checked(tmp_path / "x/meta.json") | {"schema": 99})
    with pytest.raises(InputError, match="schema 99"):
        open_artifact(tmp_path / "x")


def test_the_content_hash_is_of_the_data_alone(tmp_path):
    one, two, other = make(tmp_path / "1"), make(tmp_path / "2", config={"a": 5}), make(tmp_path / "3", text="else")
    assert one.content_hash == two.content_hash != other.content_hash


def test_a_killed_writer_leaves_nothing_that_looks_finished_and_a_second_writer_is_kept_out(tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from thresher.artifacts import build
        def write(draft):
            with draft.file("a") as file:
                file.write_text("a")
            print("written", flush=True)
            time.sleep(60)
        build(Path({str(tmp_path / "x")!r}), kind="thing", config={{}}, seed=0, inputs={{}}, write=write)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    with pytest.raises(InputError, match="another process is writing"):
        build(tmp_path / "x", kind="thing", config={}, seed=0, inputs={}, write=lambda draft: None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "x").exists()
    seen = []
    build(tmp_path / "x", kind="thing", config={}, seed=0, inputs={}, write=lambda draft: seen.append(draft.has("a")))
    assert seen == [True]


def test_meta_json_says_what_it_was_made_from(tmp_path):
    before = time.time()
    meta = make(tmp_path / "x").meta
    assert meta["config"] == {"a": 1} and meta["inputs"] == {"pool": "1234"} and meta["seed"] == 0
    assert meta["libraries"]["torch"] and meta["created"] >= time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))


def test_a_request_refused_for_its_input_leaves_nothing_behind_but_finished_work_stays(tmp_path):
    def refuse(draft, after):
        if after:
            with draft.file("a") as file:
                file.write_text("a")
        raise InputError("bad input")

    for after, left in ((False, []), (True, [".x.partial"])):
        with pytest.raises(InputError, match="bad input"):
            build(
                tmp_path / "x",
                kind="thing",
                config={},
                seed=0,
                inputs={},
                write=lambda draft, a=after: refuse(draft, a),
            )
        assert os.listdir(tmp_path) == left


def test_a_disk_error_in_another_library_s_words_is_an_oserror(tmp_path):
    with pytest.raises(OSError) as error, atomic_file(tmp_path / "x"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert error.value.errno == errno.ENOSPC and not (tmp_path / "x").exists()


def test_a_finished_artefact_opens_on_a_disk_that_cannot_be_written(tmp_path, monkeypatch):
    make(tmp_path / "x")

    def refused(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("thresher.artifacts.building.os.access", lambda path, mode: False)
    monkeypatch.setattr("pathlib.Path.unlink", refused)
    assert not make(tmp_path / "x").built


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("module, function", [("os", "rename"), ("shutil", "rmtree")])
@pytest.mark.parametrize("after", [False, True])
def test_ended_around_the_rename_the_same_request_finishes_and_leaves_nothing_over(
    tmp_path, monkeypatch, module, function, after
):
    """The work is not in vain: its state is there until the artefact is."""

    def write(draft):
        state = draft.state / "facts.json"
        if not draft.has("data.txt"):
            with draft.file("data.txt") as file:
                file.write_text("hello")
            state.write_text('{"num_rows": 1}')
        return json.loads(state.read_text())

    def again(place):
        return build(place, kind="thing", config={"a": 1}, seed=0, inputs={"pool": "1"}, write=write)

    real = getattr(__import__(module), function)

    def dies(*arguments, **options):
        if after:
            real(*arguments, **options)
        raise Killed

    monkeypatch.setattr(f"thresher.artifacts.building.{module}.{function}", dies)
    with pytest.raises(Killed):
        again(tmp_path / "x")
    monkeypatch.undo()
    artifact, undisturbed = again(tmp_path / "x"), again(tmp_path / "y")
    assert artifact.facts["num_rows"] == 1 and artifact.content_hash == undisturbed.content_hash
    assert sorted(file.name for file in artifact.path.iterdir()) == ["data.txt", "meta.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x", "y"]


@pytest.mark.parametrize("step", ["rename", "first file"])
def test_an_artefact_whose_removal_was_cut_short_is_whole_or_not_there(tmp_path, monkeypatch, step):
    make(tmp_path / "x")

    def killed(*_, **__):
        raise KeyboardInterrupt

    def one_file(folder, **_):
        if folder.exists():
            sorted(folder.iterdir())[0].unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", killed) if step == "rename" else patch.setattr(shutil, "rmtree", one_file)
        discard(tmp_path / "x")
    again = make(tmp_path / "x", text="hello")
    assert again.built == (step == "first file")
    assert again.file("data.txt").read_text() == "hello"
    discard(tmp_path / "x")
    assert not list(tmp_path.iterdir())
