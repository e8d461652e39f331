"""`study.toml`: a study read from its file, and written so that the file replays it."""

import glob
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from thresher.checkpoints import HUB
from thresher.choices import check_word
from thresher.data.sources.lm_eval_tasks import PREFIX
from thresher.errors import InputError, near
from thresher.places import published
from thresher.rules import short
from thresher.selection.evidence import SENTENCES
from thresher.studies.study import Study, TargetTable
from thresher.studies.study_check import check_study

MARKED = {"size": HUB, "task": PREFIX, "embeddings": SENTENCES}
"""Keys whose values hold a path where this stands before it."""


def read_study(path: Path) -> Study:
    """Read `study.toml`; paths in it are relative to the file. Raises InputError for unknown keys and wrong values."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; check the path, or start from the example in docs/study-file.md"
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the study's TOML file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, a number of thousands of digits, deep nesting
        raise InputError(f"{path} is not TOML: {error}; repair it") from None
    return check_study(_from_table(Study, table, str(path), base=path.parent), str(path))


def study_text(study: Study, beside: Path | None = None) -> str:
    """The TOML that replays `study`; with `beside`, from that folder: paths are written as they are reached from it."""
    lines: list[str] = []
    _write_table(asdict(study) if beside is None else _published(asdict(study), beside), [], lines)
    return "\n".join(lines).strip() + "\n"


def _from_table(kind: type, table: Any, where: str, base: Path) -> Any:
    if not isinstance(table, Mapping):
        raise InputError(f"{where} must be a table, not {table!r}")
    hints, known = get_type_hints(kind), {item.name for item in fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        hint = near(unknown[0], known)
        raise InputError(f"{where}: unknown key {unknown[0]!r}{hint}; the keys here are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            values[name] = _from_table(hint, value, f"{where} [{name}]", base)
        elif name == "target" and isinstance(value, Mapping):
            values[name] = {
                key: _from_table(TargetTable, item, f"{where} [target.{key}]", base) for key, item in value.items()
            }
        else:
            values[name] = _value(name, value, hint, where, base)
    try:
        return kind(**values)
    except TypeError:
        missing = [
            item.name for item in fields(kind) if item.name not in values and item.name in ("pool", "target", "data")
        ]
        raise InputError(f"{where}: {missing[0]!r} is missing; add it") from None


def _value(name: str, value: Any, hint: Any, where: str, base: Path) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds:
        value = _float(value, f"{where}: {name} =")
    if isinstance(value, list) and (of := [get_args(kind)[0] for kind in kinds if get_origin(kind) is list]):
        value = [_value(name, item, of[0], where, base) for item in value]
    check_word(value, hint, f"{where}: {name} =")
    allowed = {str if get_origin(kind) is Literal else get_origin(kind) or kind for kind in kinds}
    if not isinstance(value, tuple(allowed)) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in allowed)
        raise InputError(f"{where}: {name} = {value!r} is {type(value).__name__}, but {names} is needed")
    if name in ("tokenizer", "data") or (isinstance(value, str) and MARKED.get(name, "\0") in value):
        return _anchored(base, value)
    return value


def _float(value: int, label: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InputError(
            f"{label} {short(value)} is beyond all numbers that a computer has; give a smaller one"
        ) from None


def _anchored(base: Path, value: Any) -> Any:
    """Paths in a study are relative to its file."""
    if isinstance(value, list):
        return [_beside(base, str(entry)) for entry in value]
    kind, path = _mark_and_path(value)
    return kind + _beside(base, path)


def _beside(base: Path, entry: str) -> str:
    """A relative path is relative to the study's file, if something is there; else it stays (a hub name).

    Raises InputError for one that is there from where the person stands alone.
    """
    path = Path(entry).expanduser()
    inside = base.resolve() / path
    there = not path.is_absolute() and (inside.exists() or bool(glob.glob(entry, root_dir=base, recursive=True)))
    if not there and not path.is_absolute() and (path.exists() or glob.glob(entry, recursive=True)):
        raise InputError(
            f"{entry!r} is here and not beside the study's file, in {base}, which its paths are relative to; write "
            "it as it is reached from there"
        )
    return os.path.normpath(inside) if there else str(path) if entry.startswith("~") else entry


def _published(table: Mapping[str, Any], beside: Path) -> dict[str, Any]:
    return {
        name: _published(value, beside)
        if isinstance(value, Mapping)
        else [_path_text(entry, beside) for entry in value]
        if isinstance(value, list) and name == "data"
        else _path_text(value, beside)
        if isinstance(value, str) and name in ("data", "tokenizer", *MARKED)
        else value
        for name, value in table.items()
    }


def _path_text(value: str, beside: Path) -> str:
    """A setting with the path in it, if one is, as it is reached from `beside`."""
    kind, path = _mark_and_path(value)
    is_path = Path(path).is_absolute() or ("/" in path and Path(path).exists())
    return kind + published(path, beside) if is_path else value


def _mark_and_path(value: str) -> tuple[str, str]:
    """What stands before a path in a setting (`lora-8:hf:`, `lm_eval:`), and the path."""
    end = max((value.rfind(mark) + len(mark) for mark in MARKED.values() if mark in value), default=0)
    return value[:end], value[end:]


def _write_table(table: Mapping[str, Any], name: list[str], lines: list[str]) -> None:
    if name:
        lines += ["", f"[{'.'.join(part if part.isascii() and part.isalnum() else _toml(part) for part in name)}]"]
    for key, value in table.items():
        if not isinstance(value, Mapping) and value is not None:
            lines.append(f"{key} = {_toml(value)}")
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, [*name, key], lines)


def _toml(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text  # TOML's strings, numbers, booleans and arrays of them are JSON's
