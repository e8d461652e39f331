"""Options into commands: every command line is a command or one line that says what is wrong."""

import importlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import hypothesis.strategies as st
import pytest
import tyro
from hypothesis import given

from thresher.cli.arguments import options_of, read
from thresher.cli.command import Command, named_paths
from thresher.cli.main import COMMANDS, main
from thresher.cli.mix.plan import Plan
from thresher.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Example(Command):
    file: tyro.conf.Positional[Path]
    names: tuple[str, ...] = ()
    part: tuple[float, float] = (0.0, 1.0)
    count: int = 3
    damping: float | Literal["loo"] | None = None
    subset: Annotated[str | None, tyro.conf.arg(aliases=["--config"])] = None
    own: bool = True


WORDS = st.one_of(
    st.sampled_from(
        ["--names", "--part", "--count", "--own", "--no-own", "--json", "--damping=loo", "--config", "--cuont"]
    ),
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(str),
)


@given(st.lists(WORDS, max_size=9))
def test_any_words_are_a_command_or_one_line(words):
    try:
        command = read(Example, words, "example")
    except InputError as error:
        assert str(error).strip()
    else:
        kinds = {field.name: type(getattr(command, field.name)) for field in fields(command)}
        assert kinds["count"] is int and kinds["own"] is bool and all(type(part) is float for part in command.part)


@given(
    count=st.integers(-(10**20), 10**20),
    part=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text[0] != "-")),
    own=st.booleans(),
)
def test_what_is_written_is_read_back(count, part, names, own):
    words = ["a/b", "--count", str(count), "--part", *map(repr, part), "--own" if own else "--no-own"]
    words += ["--names", *names] if names else []
    read_back = read(Example, words, "example")
    assert read_back == Example(file=Path("a/b"), count=count, part=part, names=tuple(names), own=own)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["f", "--cuont", "3"], "(nearest: '--count')"),
        (["f", "--count"], "--count has no value"),
        (["f", "--names", "a", "--names", "b"], "give all its values after one"),
        (["f", "--count", "1.5"], "no whole number"),
        (["f", "--count", "１"], "no whole number"),
        (["f", "--count", "9" * 5000], "5000 digits"),
        (["f", "--damping", "nan"], "no number; write a number or loo"),
        (["f", "--damping", "1e400"], "beyond all numbers"),
        (["f", "--part", "0"], "takes 2 values, not 1"),
        (["f", "--own=yes"], "takes no value"),
        (["f", "g"], "a word too many"),
        ([""], "is no path"),
        ([], "FILE is missing"),
        (["f", "--config", "\udcff"], "not UTF-8"),
    ],
)
def test_every_mistake_has_its_line(words, said):
    with pytest.raises(InputError) as error:
        read(Example, words, "example")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_underscores_values_after_an_equals_sign_and_aliases_are_understood():
    command = read(Example, ["f", "--config=a=b", "--damping=-1.5", "--no-own"], "example")
    assert (command.subset, command.damping, command.own) == ("a=b", -1.5, False)
    assert read(Command, ["--quiet"], "x").quiet
    assert read(Example, ["f", "--count", "3", "--count=4"], "example").count == 4


def test_a_tilde_is_the_home_wherever_a_path_is_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(Example, ["~/f"], "example").file == tmp_path / "f"
    assert read(Plan, ["a", "b", "--out=~/plan.csv"], "mix plan").out == tmp_path / "plan.csv"
    assert named_paths(["t=~/target", "~/other"], "--targets") == {
        "t": tmp_path / "target",
        "other": tmp_path / "other",
    }
    assert read(Example, ["~nobody-is-called-so/f"], "example").file == Path("~nobody-is-called-so/f")


def test_every_command_can_be_read():
    for name in COMMANDS:
        module = importlib.import_module(f"thresher.cli.{name}")
        for command in getattr(module, "ACTIONS", {"": getattr(module, "COMMAND", None)}).values():
            options = list(options_of(command))
            assert {"json", "quiet"} <= {option.name for option in options}
            for option in options:
                kinds = set(option.parts) - {Ellipsis} or {option.kind}
                leaves = {leaf for kind in kinds for leaf in get_args(kind) or (kind,)}
                leaves = {leaf for leaf in leaves if get_origin(leaf) is not Literal and not isinstance(leaf, str)}
                assert leaves <= {bool, str, int, float, Path, type(None)}, (name, option.name)


@pytest.mark.parametrize(
    "line",
    [
        "trian",
        "mix tabel",
        "train --pool /nope --out o",
        "mix plan a b --runs 0",
        "lds --k 1000000000000000 --sede 1",
    ],
)
def test_a_wrong_line_is_refused_in_one_line_before_anything_heavy_is_loaded(line, capsys):
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and printed.err.startswith("thresher: error: ")
