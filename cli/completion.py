"""`thresher completion`: what makes a shell complete commands, options and the words that options take."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import tyro

from thresher.choices import words_of
from thresher.cli.command import Command
from thresher.progress import Progress

NAME = "thresher"
HEADS = {
    "bash": "# For bash: put `source <(thresher completion bash)` into ~/.bashrc.\n",
    "zsh": "#compdef thresher\n# For zsh: put `source <(thresher completion zsh)` into ~/.zshrc.\n"
    "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"
    "autoload -Uz bashcompinit && bashcompinit\n",
    "fish": "# For fish: thresher completion fish > ~/.config/fish/completions/thresher.fish\n",
}


class Known(NamedTuple):
    """An option as a shell knows it."""

    flag: str
    words: tuple[str, ...]
    takes_value: bool
    says: str


@dataclass(frozen=True, kw_only=True)
class Completion(Command):
    """Print the script that makes a shell complete commands, their options and the words that options take.

    Paths are completed where an option takes one. The script is made from the options as they are; make it again after
    an update.
    """

    usage = """
    thresher completion bash > ~/.local/share/bash-completion/completions/thresher
    thresher completion zsh > ~/.zfunc/_thresher
    thresher completion fish > ~/.config/fish/completions/thresher.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """bash, zsh or fish."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Write the script."""
        from thresher.cli.main import COMMANDS

        options, actions = dict(_options(COMMANDS)), _actions(COMMANDS)
        script = _fish(COMMANDS, actions, options) if self.shell == "fish" else _bash(COMMANDS, actions, options)
        return {"shell": self.shell, "script": HEADS[self.shell] + script}

    def show(self, result: Mapping[str, Any]) -> str:
        """The script itself."""
        return result["script"].rstrip("\n")


def _actions(commands: Mapping[str, str]) -> dict[str, Mapping[str, type]]:
    """The actions of each command that has some."""
    modules = {name: importlib.import_module(f"thresher.cli.{name}") for name in commands}
    return {name: module.ACTIONS for name, module in modules.items() if hasattr(module, "ACTIONS")}


def _options(commands: Mapping[str, str]) -> Iterator[tuple[str, list[Known]]]:
    """The options of every command, by the words it is called with."""
    for name in commands:
        module = importlib.import_module(f"thresher.cli.{name}")
        if not hasattr(module, "ACTIONS"):
            yield name, _known(module.COMMAND)
        for action, kind in getattr(module, "ACTIONS", {}).items():
            yield f"{name} {action}", _known(kind)


def _known(kind: type) -> list[Known]:
    from thresher.cli.arguments import options_of
    from thresher.cli.help import said_of

    docs = said_of(kind)
    found = [
        Known(flag, words_of(option.parts[0] if option.parts else option.kind), not option.is_switch, docs[option.name])
        for option in options_of(kind)
        if not option.is_positional
        for flag in (option.flags[:1] if option.is_switch and not getattr(kind, option.name) else option.flags)
    ]
    return [*found, Known("--help", (), False, "This command's options.")]


def _bash(commands: Mapping[str, str], actions: Mapping[str, Any], options: Mapping[str, list[Known]]) -> str:
    """One function, of plain words and cases, which zsh runs too. Where it has no answer the shell offers paths."""
    flags = [
        f'        "{name}") flags="{" ".join(known.flag for known in found)}" ;;' for name, found in options.items()
    ]
    words = [
        f'        "{name} {known.flag}") words="{" ".join(known.words)}" ;;'
        for name, found in options.items()
        for known in found
        if known.words
    ]
    nested = [
        f'        {name}) if [[ $COMP_CWORD -eq 2 ]]; then words="{" ".join(of)} --help"; '
        'else command="$command ${COMP_WORDS[2]}"; fi ;;'
        for name, of in actions.items()
    ]
    first = " ".join([*commands, "--help", "--version"])
    return "\n".join(
        [
            f"_{NAME}() {{",
            '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"',
            '    local command="${COMP_WORDS[1]}" flags="" words=""',
            "    COMPREPLY=()",
            "    if [[ $COMP_CWORD -eq 1 ]]; then",
            f'        COMPREPLY=($(compgen -W "{first}" -- "$current"))',
            "        return",
            "    fi",
            '    case "$command" in',
            "        completion) words='bash zsh fish' ;;",
            *nested,
            "    esac",
            '    case "$command" in',
            *flags,
            "    esac",
            '    case "$command $previous" in',
            *words,
            "    esac",
            '    if [[ "$current" == -* ]]; then',
            '        COMPREPLY=($(compgen -W "$flags" -- "$current"))',
            '    elif [[ -n "$words" ]]; then',
            '        COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "    fi",
            "}",
            f"complete -o default -F _{NAME} {NAME}",
            "",
        ]
    )


def _fish(commands: Mapping[str, str], actions: Mapping[str, Any], options: Mapping[str, list[Known]]) -> str:
    lines = [
        f"complete -c {NAME} -f -n __fish_use_subcommand -a {name} -d {_quoted(says)}"
        for name, says in commands.items()
    ]
    lines.append(f"complete -c {NAME} -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'")
    seen, nests = "__fish_seen_subcommand_from", " ".join(actions)
    for name, of in actions.items():
        when = f"{seen} {name}; and not {seen} {' '.join(of)}"
        lines.append(f"complete -c {NAME} -f -n '{when}' -a '{' '.join(of)}'")
    for name, found in options.items():
        parts = name.split()
        when = "; and ".join(f"{seen} {part}" for part in parts)
        when += f"; and not {seen} {nests}" if len(parts) == 1 else ""
        for known in found:
            takes = f" -xa '{' '.join(known.words)}'" if known.words else " -r" if known.takes_value else ""
            lines.append(f"complete -c {NAME} -n '{when}' -l {known.flag[2:]}{takes} -d {_quoted(known.says)}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """A short text in the quotes of fish."""
    short = text.split(". ")[0].split(": ")[0].rstrip(".")[:70]
    return "'" + short.replace("\\", "\\\\").replace("'", "\\'") + "'"


COMMAND = Completion
