"""Where commands may write, and what names may be."""

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from thresher.artifacts import build
from thresher.errors import InputError
from thresher.places import (
    check_artifact_place,
    check_file_place,
    check_name,
    check_workspace,
    is_ours,
    own_file,
    published,
    read_json,
    write_json,
)
from thresher.shown import shown


def make(path: Path) -> Path:
    def write(draft):
        with draft.file("x") as file:
            file.write_text("x")

    return build(path, kind="thing", config={}, seed=0, inputs={}, write=write).path


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_name_that_is_allowed_is_one_part_of_a_path_and_safe_to_print(name):
    try:
        check_name(name, "target")
    except InputError as error:
        assert "choose another" in str(error)
    else:
        assert Path("a", name).parent == Path("a") and shown(name) == name and not name.startswith(".")


@pytest.mark.parametrize(
    "name", ["", " x", "a/b", "..", ".hidden", "a\nb", "a\x1b[31m", "a\u202eb", "x" * 300, "é" * 60]
)
def test_names_that_leave_hide_or_break_are_refused(name):
    with pytest.raises(InputError, match="target"):
        check_name(name, "target")


def test_nothing_is_made_in_an_artefact_or_among_the_files_of_others(tmp_path):
    artefact, others = make(tmp_path / "made"), tmp_path / "others"
    others.mkdir()
    (others / "notes.txt").write_text("mine")
    for check in (check_artifact_place, check_workspace, check_file_place):
        with pytest.raises(InputError, match="lies in the artefact"):
            check(artefact / "inner")
    with pytest.raises(InputError, match="is an artefact"):
        check_workspace(artefact)
    for check in (check_artifact_place, check_workspace):
        with pytest.raises(InputError, match=r"notes\.txt"):
            check(others)
        with pytest.raises(InputError, match="is a file"):
            check(others / "notes.txt")
        check(tmp_path / "new" / "deep")
    check_artifact_place(artefact)  # the same command again finds it


def test_what_is_read_is_not_written_to_nor_around(tmp_path):
    source = tmp_path / "data" / "pool.jsonl"
    source.parent.mkdir()
    source.write_text("{}\n")
    for check, out in ((check_file_place, source), (check_workspace, source.parent), (check_artifact_place, tmp_path)):
        with pytest.raises(InputError):
            check(out, [source])


def test_a_workspace_is_known_by_its_artefacts_and_may_hold_notes_beside_them(tmp_path):
    make(tmp_path / "run" / "data" / "pool-0123abcd")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    check_workspace(tmp_path / "run", [tmp_path / "run" / "data" / "pool-0123abcd"])
    (tmp_path / "empty" / "data").mkdir(parents=True)
    check_workspace(tmp_path / "empty")


def test_a_folder_of_nothing_but_our_own_files_is_written_again(tmp_path):
    write_json({"weights": {"web": 1.0}}, tmp_path / "mixture.json")
    check_workspace(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no study made \(notes.txt\)"):
        check_workspace(tmp_path)


def test_links_are_not_worked_through(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / ".made.partial").symlink_to(tmp_path / "victim")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    for out in ("made", "link"):
        with pytest.raises(InputError, match="is a link"):
            check_artifact_place(tmp_path / out)


def test_only_a_file_with_our_mark_is_written_anew(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(InputError, match="without the mark"), own_file(page) as file:
        file.write_text("ours")
    assert page.read_text() == "mine"
    for value in ({"a": float("nan")}, {"a": 2.5}):
        write_json(value, tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == {"a": 2.5}


@given(
    st.dictionaries(st.text().filter(lambda key: key != "about"), st.one_of(st.integers(), st.text(), st.booleans()))
)
def test_json_comes_back_as_it_was_written(tmp_path, value):
    write_json(value, tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == value


def test_published_paths_name_nobody(tmp_path, monkeypatch):
    home = tmp_path / "home" / "alice"
    monkeypatch.setenv("HOME", str(home))
    assert published(home / "data" / "x", home / "runs" / "a") == "../../data/x"
    assert published(home / "data" / "x", tmp_path / "elsewhere") == "~/data/x"
    assert published(tmp_path / "data" / "x", tmp_path / "runs") == "../data/x"


@pytest.mark.parametrize("left", ["20K/models/.a-0-12345678.partial/.request.json", "20K/models/.a-0-12345678.lock"])
def test_a_folder_with_nothing_but_what_a_killed_study_began_is_its_own(tmp_path, left):
    file = tmp_path / "transfer" / left
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    check_workspace(tmp_path / "transfer")
    (tmp_path / "others" / "20K").mkdir(parents=True)
    (tmp_path / "others/20K/notes.lock").write_text("mine")
    with pytest.raises(InputError, match="no study made"):
        check_workspace(tmp_path / "others")


def test_a_path_from_a_folder_behind_a_link_leads_where_it_says(tmp_path):
    (tmp_path / "disk" / "deep" / "runs").mkdir(parents=True)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "data").touch()
    (tmp_path / "user" / "runs").symlink_to(tmp_path / "disk" / "deep" / "runs")
    written = published(tmp_path / "user" / "data", tmp_path / "user" / "runs")
    assert (tmp_path / "user" / "runs" / written).resolve() == tmp_path / "user" / "data"


@pytest.mark.parametrize(
    ("head", "is_own"),
    [
        ("run,data,weight_a,weight_b", True),
        ("run,data,weight_a,weight_b,loss_t,flops,seconds", True),
        ("run,data,weight_a,weight_b,loss_t", False),
        ("my_run,data,weight_a", False),
        ("note,run,data,weight_a", False),
    ],
)
def test_a_table_to_which_somebody_added_columns_is_theirs(tmp_path, head, is_own):
    (tmp_path / "plan.csv").write_text(f"{head}\r\n0,1,.5,.5\r\n")
    assert is_ours(tmp_path / "plan.csv") == is_own
