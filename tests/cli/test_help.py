"""Every help page: examples that are accepted, what is needed first, groups, 80 columns, nothing heavy loaded."""

import importlib
import shlex
import subprocess
import sys

import pytest

from thresher.cli.arguments import options_of, read
from thresher.cli.groups import OTHER, groups_of
from thresher.cli.help import FEW, WIDTH, examples_of, page_of, page_of_actions, said_of
from thresher.cli.main import COMMANDS, main


def commands():
    """Every command and action by the words it is called with."""
    for name in COMMANDS:
        module = importlib.import_module(f"thresher.cli.{name}")
        if hasattr(module, "ACTIONS"):
            yield from ((f"{name} {action}", kind) for action, kind in module.ACTIONS.items())
        else:
            yield name, module.COMMAND


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_every_example_is_a_line_that_its_command_accepts(name):
    examples = examples_of(ALL[name])
    assert examples
    for line in examples:
        program, *words = shlex.split(line.partition(" > ")[0])
        assert program == "thresher" and " ".join(words).startswith(name)
        read(ALL[name], words[len(name.split()) :], name)


@pytest.mark.parametrize("name", ALL)
def test_a_page_fits_80_columns_and_says_first_what_is_needed(name):
    page = page_of(name, ALL[name])
    assert max(map(len, page.splitlines())) <= WIDTH
    titles = [line for line in page.splitlines() if line.endswith(":") and not line.startswith(" ")]
    needed = any(option.is_required for option in options_of(ALL[name]))
    assert titles[0].startswith("example") and (titles[1] == "required:") == needed and titles[-1] == "what is said:"


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_something_and_stands_in_a_group(name):
    docs, options = said_of(ALL[name]), list(options_of(ALL[name]))
    assert not [option.name for option in options if not docs[option.name]]
    others = [option for option in options if not option.is_required]
    assert len(others) <= FEW or OTHER not in groups_of(name, others)
    page = page_of(name, ALL[name])
    assert all(page.count(f"\n  {option.label}") >= 1 for option in options)


@pytest.mark.parametrize("name", ALL)
def test_no_option_has_the_name_of_what_a_command_is_told_by(name):
    """A field would take the text that stands under its name for its default."""
    told = {"usage", "makes", "sources", "former"}
    assert not told & {option.name for option in options_of(ALL[name])}


@pytest.mark.parametrize("name", ["mix", "study"])
def test_a_command_of_actions_alone_shows_them_with_status_0(name, capsys):
    assert main([name]) == 0
    page = capsys.readouterr().out
    module = importlib.import_module(f"thresher.cli.{name}")
    assert page.rstrip("\n") == page_of_actions(name, module)
    assert all(f"\n  {action} " in page for action in module.ACTIONS)
    assert max(map(len, page.splitlines())) <= WIDTH


def test_the_list_of_commands_fits_80_columns(capsys):
    assert main(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= WIDTH


def test_what_an_option_says_is_the_text_below_its_field_or_the_usual_one():
    docs = said_of(ALL["mix runs"])
    assert docs["model"] == "The proxy: parameters, or a model's name."  # of the class itself, not of its base
    assert docs["targets"].startswith("NAME=PREPARED") and docs["json"] and docs["device"].startswith("auto")


HEAVY = "torch numpy pyarrow pandas transformers datasets scipy rich sklearn faiss"


@pytest.mark.parametrize("name", ALL)
def test_a_help_page_and_a_missing_path_load_no_heavy_library(name):
    """A path that is not there is found first, in every command that reads one."""
    lines = [[*name.split(), "--help"]]
    if (wrong := missing(name)) is not None:
        lines.append(wrong)
    script = (
        f"import sys; from thresher.cli.main import main; statuses = [main(line) for line in {lines!r}];"
        f"print(*statuses, *(set({HEAVY!r}.split()) & sys.modules.keys()), sep=',')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ",".join(["0", "2"][: len(lines)]), done.stdout + done.stderr


def missing(name):
    """The first example of a command, whose paths are not there; None for a command that reads none."""
    if name in ("doctor", "demo", "mix plan", "attribute", "completion"):
        return None
    return shlex.split(examples_of(ALL[name])[0])[1:]
