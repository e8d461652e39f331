"""What every command shares: the two output options, how a result is shown, and how named paths are written."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from thresher.artifacts import Artifact
from thresher.checkpoints import locate
from thresher.cli.arguments import dashed, flag_of, options_of, typed_path
from thresher.cli.telling import say
from thresher.errors import InputError
from thresher.idle import Idle
from thresher.places import check_artifact_place, check_file_place, check_log_place, check_name, check_workspace
from thresher.progress import Progress
from thresher.proxies.models.names import parse as parse_model
from thresher.rules import check_numbers

OUTPUTS = ("out", "evidence", "export", "page")
NAMED = ("targets", "target_features", "arms", "off_targets", "test_sets", "compare", "scores")
"""Options of NAME=PATH entries."""
MODELS = ("model", "models", "proxy", "ladder", "sizes")
"""Options that name models (`proxies.models.names`)."""
ENDINGS = (".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".zst", ".gz")
"""Of files; no data set on the hub is called so."""
PlaceCheck = Callable[[Path, Iterable[Path]], None]
MAKES: dict[str, PlaceCheck] = {
    "artifact": check_artifact_place,
    "workspace": check_workspace,
    "file": check_file_place,
}
CHECKS: dict[str, PlaceCheck] = {"evidence": check_workspace, "export": check_artifact_place, "page": check_file_place}
"""Of outputs that are always of one kind."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its options are fields, `run` does the work, `show` says what came of it."""

    json: bool = False
    """The result as one JSON object on stdout."""
    quiet: bool = False
    """Only warnings and errors on stderr."""
    verbose: bool = False
    """A line on stderr for every piece of work."""
    log: Path | None = None
    """Add all that is said, with its time, to this file."""
    usage: ClassVar[str] = ""
    """A line that a person may type, or several; the help shows it."""
    makes: ClassVar[str] = "artifact"
    """What is at --out in the end: an artifact, a workspace (a folder of them), or a file."""
    sources: ClassVar[tuple[str, ...]] = ()
    """Fields of data: paths, globs or names on the hub; of these only a file's name can be checked beforehand."""
    former: ClassVar[Mapping[str, str]] = {}
    """Options that are no more, and what to write instead."""
    idle: ClassVar[Idle] = Idle()
    """When options change nothing."""

    def check(self) -> None:
        """Refuse, before anything is loaded, what can be seen to be wrong.

        Numbers, options that change nothing, missing inputs, the place to write.

        Raises InputError.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.quiet and self.verbose:
            raise InputError("--quiet and --verbose ask for opposite things; leave one out")
        check_numbers({dashed(name): value for name, value in values.items()}, "--{}")
        self.idle.check(self.given(*values), flag_of)
        options = {option.name: option for option in options_of(type(self))}
        self._check_models(values)
        inputs = [path for name, value in values.items() for path in self._inputs(options[name].label, name, value)]
        places = self.places()
        for name, (place, check) in places.items():
            others = [other for key, (other, _) in places.items() if key != name]
            if place.resolve() in [other.resolve() for other in others]:
                raise InputError(f"{name} {place} is another output of this command; give each a place of its own")
            check(place, inputs)
        if self.log is not None:
            check_log_place(self.log, inputs, [place for place, _ in places.values()])

    def places(self) -> dict[str, tuple[Path, PlaceCheck]]:
        """Every place that this command writes to, by what messages call it, and what looks at it beforehand.

        A command that writes where no option says adds that here.
        """
        given = {name: getattr(self, name, None) for name in OUTPUTS}
        return {
            f"--{name}": (place, CHECKS.get(name, MAKES[self.makes]))
            for name, place in given.items()
            if place is not None
        }

    def _check_models(self, values: Mapping[str, Any]) -> None:
        """Names of models and tokenizers are of a known form, and their paths are there."""
        for name in MODELS:
            given = values.get(name)
            for model in given if isinstance(given, tuple) else (given,):
                if model is not None:
                    parse_model(model, trained=name == "models")
        if values.get("tokenizer") is not None:
            locate(values["tokenizer"])

    def _inputs(self, label: str, name: str, value: Any) -> list[Path]:
        """The paths that the option `name` reads. Raises InputError for one that does not exist."""
        if name in self.sources:
            _check_sources((value,) if isinstance(value, str) else value or ())
        if name in OUTPUTS or name == "log" or name in self.sources:
            return []
        paths = [path for path in (value if isinstance(value, tuple) else (value,)) if isinstance(path, Path)]
        if name in NAMED and isinstance(value, tuple):
            paths += named_paths([entry for entry in value if "=" in entry], label, at_least=0).values()
        for path in paths:
            if not _exists(path):
                raise InputError(f"{label} {path} does not exist; make it first, or check the path")
        return paths

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the options `names` that differ from their defaults, in that order."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value != getattr(type(self), name, MISSING)}

    def run(self, progress: Progress) -> dict[str, Any]:
        """Do the work; the result is what `--json` prints."""
        raise NotImplementedError

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The words of the command that comes next, where one is natural and could be run as it stands."""
        return None

    def show(self, result: Mapping[str, Any]) -> str:
        """The result as lines for a person."""
        return "\n".join(f"{key}: {_line(value)}" for key, value in result.items())


class Warnings(logging.Handler):
    """What the library warns of, as `warn` says it, and what it says beforehand of long work."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say the message on stderr."""
        if record.levelno < logging.WARNING:
            say(record.getMessage())
        else:
            warn(record.getMessage())


def warn(message: str) -> None:
    """Say what a person should know before they go on; --quiet silences progress, not this."""
    say(f"warning: {message}")


def made(artifact: Artifact) -> dict[str, Any]:
    """The result of a command that makes an artefact."""
    return {
        "path": str(artifact.path),
        "kind": artifact.kind,
        "built": artifact.built,
        "content_hash": artifact.content_hash,
        **{key: value for key, value in artifact.facts.items() if key not in ("loss_curve", "curves")},
    }


def named_paths(entries: Sequence[str], option: str, *, at_least: int = 1) -> dict[str, Path]:
    """`NAME=PATH` entries by name; a plain PATH is named after its last part. Raises InputError for fewer."""
    named: dict[str, Path] = {}
    for entry in entries:
        name, separator, path = entry.partition("=")
        name, path = (name, path) if separator else (Path(entry).name, entry)
        if not name or not path or name in named:
            raise InputError(f"{option} {entry!r}: names must be there and differ; write {option} NAME=PATH NAME=PATH")
        named[check_name(name, option)] = typed_path(path)
    if len(named) < at_least:
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
        if not name or name in found or not math.isfinite(number):
            raise InputError(
                f"{option} {entry!r} cannot be read; write {option} NAME=NUMBER NAME=NUMBER, each name once, finite"
            )
        found[name] = number
    return found


def check_page(page: Path | None, option: str) -> None:
    """Raise InputError for a page whose name is none of a page."""
    if page is not None and page.suffix != ".html":
        raise InputError(f"{option} {page} is no name for a page; give one that ends in .html")


def _check_sources(entries: Sequence[str]) -> None:
    """Raise InputError for a source that is written like a file, and is not there."""
    for entry in entries:
        path = entry if _exists(Path(entry)) else entry.partition("=")[2] or entry
        is_file = path.startswith(("/", "./", "../", "~")) or path.endswith(ENDINGS)
        if is_file and not set(path) & set("*?[") and not _exists(Path(path)):
            raise InputError(f"{path} does not exist; check the path (a hub data set is written OWNER/NAME)")


def _exists(path: Path) -> bool:
    try:
        return typed_path(str(path)).exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def _line(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_line(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return str(value)
