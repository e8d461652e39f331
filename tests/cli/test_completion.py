"""The scripts that make shells complete: made from the options as they are, and tried in a real bash."""

import shutil
import subprocess
import sys

import pytest

from thresher.cli.arguments import options_of
from thresher.cli.main import COMMANDS, main
from thresher.cli.mix import ACTIONS
from thresher.cli.score import Score

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script for bash, as a file, made by a process of its own that loads no torch."""
    program = "import sys; from thresher.cli.main import main; main(['completion', 'bash']);"
    program += "print(*{'torch', 'numpy'} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    file = tmp_path_factory.mktemp("completion") / "thresher.bash"
    file.write_text(done.stdout)
    return file


def completed(script, *words):
    """What bash offers for the last of these words."""
    quoted = " ".join(f"'{word}'" for word in ("thresher", *words))
    line = f"source '{script}'; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _thresher; echo \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "--norc", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@bash
def test_bash_completes_commands(script):
    assert set(completed(script, "")) == {*COMMANDS, "--help", "--version"}
    assert completed(script, "va") == ["validate"]


@bash
def test_bash_completes_the_options_of_each_command(script):
    flags = {option.flags[0] for option in options_of(Score)}
    assert set(completed(script, "score", "--")) == {*flags, "--help"}
    assert completed(script, "score", "--pool", "p", "--mem") == ["--memory-gb"]
    assert "--no-own" in completed(script, "lds", "--no")


@bash
def test_bash_completes_the_words_that_an_option_takes(script):
    assert completed(script, "score", "--backend", "") == ["thresher", "traker"]
    assert completed(script, "train", "--optimizer", "s") == ["sgd"]
    assert completed(script, "completion", "z") == ["zsh"]


@bash
def test_bash_completes_actions_and_their_options(script):
    assert set(completed(script, "mix", "")) == {*ACTIONS, "--help"}
    assert "--max-flops" in completed(script, "mix", "runs", "--max")
    assert "--arms" not in completed(script, "mix", "validate", "--")
    assert "--arms" in completed(script, "validate", "--")


@bash
def test_bash_offers_paths_where_a_path_belongs(script):
    assert completed(script, "score", "--pool", "") == []  # then the shell's own, by `complete -o default`
    assert "complete -o default -F _thresher thresher" in script.read_text()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_with_every_command(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS) and "--no-json" not in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True, capture_output=True)


def test_a_shell_that_is_not_known_is_said_with_the_nearest(capsys):
    assert main(["completion", "bsh"]) == 2
    assert "nearest: 'bash'" in capsys.readouterr().err
