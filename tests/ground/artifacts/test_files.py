import errno
import os
import subprocess
import sys
import textwrap

import pytest

from thresher.artifacts import atomic_file
from thresher.artifacts.files import make_folder, read_checked, write_checked


def test_what_an_ended_process_left_of_a_file_is_removed_but_not_what_a_living_one_writes(tmp_path):
    target = tmp_path / "report.html"
    script = textwrap.dedent(
        f"""
        import os
        from pathlib import Path
        from thresher.artifacts import atomic_file
        with atomic_file(Path({str(target)!r})) as file:
            file.write_text("half")
            os._exit(9)
        """
    )
    subprocess.run([sys.executable, "-c", script])
    assert [name for name in os.listdir(tmp_path) if name.startswith(".report.html.")]
    with atomic_file(target) as one:
        one.write_text("one")
        with atomic_file(target) as two:
            two.write_text("two")
        assert one.exists()
    assert os.listdir(tmp_path) == ["report.html"] and target.read_text() == "one"


def test_checked_json_is_read_back_and_any_other_text_refused(tmp_path):
    value = {"a": [1, 2.5, None], "b": {"checksum": "no"}, "c": 'quoted ",\n "checksum": "'}
    write_checked(tmp_path / "x.json", value)
    assert read_checked(tmp_path / "x.json") == value
    text = (tmp_path / "x.json").read_text()
    for changed in (text[:-1], text + "\n", text.replace("2.5", "2.6"), text.replace(" ", "\t", 1), "", "{}"):
        (tmp_path / "x.json").write_text(changed)
        with pytest.raises(ValueError):
            read_checked(tmp_path / "x.json")


def test_a_folder_s_names_are_flushed_from_the_top(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("thresher.artifacts.files.fsync", lambda path: flushed.append(path.name))
    make_folder(tmp_path / "a/b/c")
    assert flushed == [tmp_path.name, "a", "b"] and (tmp_path / "a/b/c").is_dir()


def test_a_disk_that_cannot_flush_a_folder_is_no_fault(tmp_path, monkeypatch):
    def refuses(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("thresher.artifacts.files.os.fsync", refuses)
    with atomic_file(tmp_path / "x") as file:
        file.write_text("hello")
    assert (tmp_path / "x").read_text() == "hello"
