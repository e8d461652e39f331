"""What every command shares: the two output options, how a result is shown, and how named paths are written."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.artifacts import Artifact
from thresher.errors import InputError
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its options are fields, `run` does the work, `show` says what came of it."""

    json: bool = False
    """Print the result as one JSON object, and nothing else, on stdout."""
    quiet: bool = False
    """No progress on stderr."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Do the work; the result is what `--json` prints."""
        raise NotImplementedError

    def show(self, result: Mapping[str, Any]) -> str:
        """The result as lines for a person."""
        return "\n".join(f"{key}: {_line(value)}" for key, value in result.items())


class Warnings(logging.Handler):
    """What the library warns of, as `warn` says it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say the message on stderr."""
        warn(record.getMessage())


def warn(message: str) -> None:
    """Say on stderr what a person should know before they go on; --quiet silences progress, not this."""
    print(f"thresher: warning: {message}", file=sys.stderr)


def made(artifact: Artifact) -> dict[str, Any]:
    """The result of a command that makes an artefact."""
    return {
        "path": str(artifact.path),
        "kind": artifact.kind,
        "built": artifact.built,
        "content_hash": artifact.content_hash,
        **{key: value for key, value in artifact.facts.items() if key != "loss_curve"},
    }


def named_paths(entries: Sequence[str], option: str) -> dict[str, Path]:
    """`NAME=PATH` entries by name; a plain PATH is named after its last part."""
    named: dict[str, Path] = {}
    for entry in entries:
        name, separator, path = entry.partition("=")
        name, path = (name, path) if separator else (Path(entry).name, entry)
        if not name or not path or name in named:
            raise InputError(f"{option} {entry!r}: names must be there and differ; write {option} NAME=PATH NAME=PATH")
        if "/" in name or name.startswith("."):
            raise InputError(f"{option} {entry!r}: a name cannot hold / or begin with a dot; choose another")
        named[name] = Path(path)
    if not named:
        raise InputError(f"{option} is empty; give at least one NAME=PATH")
    return named


def named_numbers(entries: Sequence[str], option: str) -> dict[str, float]:
    """`NAME=NUMBER` entries by name, each name once."""
    found: dict[str, float] = {}
    for entry in entries:
        name, _, text = entry.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            name, number = "", 0.0
        if not name or name in found:
            raise InputError(
                f"{option} {entry!r} cannot be read; write {option} NAME=NUMBER NAME=NUMBER, each name once"
            )
        found[name] = number
    return found


def _line(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_line(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return str(value)
