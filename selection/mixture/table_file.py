"""Tables of runs read from CSV: which columns are weights and which are losses, by patterns."""

import csv
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.mixture.laws.law import Losses, Weights
from thresher.selection.mixture.table import MixtureTable, make_table


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are which, by shell patterns; what `*` matches becomes the name."""

    weights: tuple[str, ...] = ("weight_*",)
    losses: tuple[str, ...] = ("loss_*",)
    index: str | None = None
    """The column that joins several files by row; without it only one file may be given."""
    step: str | None = None
    """The column of training steps (or tokens), with each mixture's losses along its run, for the step law."""
    size: str | None = None
    """The column of model sizes, for the size law."""


def read_columns(path: Path) -> Columns:
    """The columns that a TOML file names: `weights` and `losses` (patterns or lists of them), `index`, `step`, `size`.

    Raises InputError for a file that cannot be read and for other keys.
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML ({str(error).splitlines()[0]}); correct it") from None
    patterns, names = ("weights", "losses"), ("index", "step", "size")
    if unknown := set(given) - {*patterns, *names}:
        raise InputError(f"{path} has {sorted(unknown)[0]!r}; the keys are {', '.join((*patterns, *names))}")
    texts = [text for value in given.values() for text in (value if isinstance(value, list) else [value])]
    if not all(isinstance(text, str) for text in texts) or any(isinstance(given.get(name), list) for name in names):
        raise InputError(
            f"{path}: weights and losses are patterns or lists of them, index, step and size are one name; correct it"
        )
    return Columns(
        **{
            key: (value,) if isinstance(value, str) else tuple(value) for key, value in given.items() if key in patterns
        },
        **{key: value for key, value in given.items() if key in names},
    )


@dataclass(frozen=True)
class RawRows:
    """The numbers in the files, before any check that they make sense."""

    domains: list[str]
    targets: list[str]
    weights: Weights
    losses: Losses
    extra: dict[str, Float[np.ndarray, "n"]]
    """The columns named by `Columns.step` and `Columns.size`."""


def read_table(paths: Path | Sequence[Path], columns: Columns = Columns()) -> MixtureTable:
    """The table in one CSV file, or in several joined on `columns.index`.

    Raises InputError for unreadable files, patterns that match nothing, cells that are no numbers, and for what
    `make_table` refuses.
    """
    raw = read_rows(paths, columns)
    return make_table(raw.domains, raw.targets, raw.weights, raw.losses)


def read_rows(paths: Path | Sequence[Path], columns: Columns = Columns(), *, weighted: bool = True) -> RawRows:
    """The rows of the files, unchecked; with `weighted` False there are no weights and no domains."""
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if len(files) > 1 and columns.index is None:
        raise InputError(f"{len(files)} files need a column to join them on; name it as index")
    header, rows = _join([_read_csv(file, columns.index) for file in files], columns.index)
    domains = _matching(header, columns.weights, "weights") if weighted else {}
    targets = _matching(header, columns.losses, "losses")
    if both := set(domains) & set(targets):
        raise InputError(f"column {sorted(both)[0]!r} is matched as a weight and as a loss; make the patterns narrower")
    weights = _numbers(rows, domains)
    losses = _numbers(rows, targets)
    extra = {}
    for column in filter(None, (columns.step, columns.size)):
        if column not in header:
            raise InputError(f"no column is called {column!r}; the columns are {', '.join(header[:8])}")
        extra[column] = _numbers(rows, [column])[:, 0]
    return RawRows(list(domains.values()), list(targets.values()), weights, losses, extra)


def _read_csv(path: Path, index: str | None) -> tuple[list[str], dict[str, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), list(reader.fieldnames or [])
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (IsADirectoryError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a readable CSV ({type(error).__name__}); give a comma-separated text file"
        ) from None
    if not rows:
        raise InputError(f"{path} holds no rows; give one line of names and one line a run")
    if repeated := {name for name in header if header.count(name) > 1}:
        raise InputError(f"{path} has two columns called {sorted(repeated)[0]!r}; rename one")
    if index is not None and index not in header:
        raise InputError(f"{path} has no column {index!r} to join on; its columns are {', '.join(header[:8])}")
    keys = [row[index] if index is not None else str(number) for number, row in enumerate(rows)]
    if len(set(keys)) < len(keys):
        raise InputError(f"{path} has two rows with the same {index!r}; each run needs its own")
    return header, dict(zip(keys, rows, strict=True))


def _join(tables: list, index: str | None) -> tuple[list[str], list[dict[str, str]]]:
    header = list(tables[0][0])
    for other, _ in tables[1:]:
        if shared := [name for name in other if name in header and name != index]:
            raise InputError(f"column {shared[0]!r} is in two files; drop it from one")
        header += [name for name in other if name != index]
    keys = set(tables[0][1])
    for _, rows in tables[1:]:
        if odd := keys.symmetric_difference(rows):
            raise InputError(f"run {sorted(odd)[0]!r} is in one file and not in another; give both files the same runs")
    return header, [{name: value for _, rows in tables for name, value in rows[key].items()} for key in tables[0][1]]


def _matching(header: Sequence[str], patterns: Sequence[str], what: str) -> dict[str, str]:
    """Columns that a pattern matches, in file order, with their short names."""
    names: dict[str, str] = {}
    for column in header:
        for pattern in patterns:
            if fnmatchcase(column, pattern):
                head, star, tail = pattern.partition("*")
                plain = bool(star) and not set("*?[") & set(head + tail)
                names[column] = column[len(head) : len(column) - len(tail)] if plain else column
                break
    if not names:
        raise InputError(f"no column matches {' or '.join(patterns)} ({what}); the columns are {', '.join(header[:8])}")
    return names if len(set(names.values())) == len(names) else {column: column for column in names}


def _numbers(rows: Sequence[dict[str, str]], columns: Iterable[str]) -> Float[np.ndarray, "n c"]:
    columns = list(columns)
    values = np.empty((len(rows), len(columns)))
    for run, row in enumerate(rows):
        for place, column in enumerate(columns):
            text = (row.get(column) or "").strip()
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise InputError(
                    f"run {run}: column {column!r} has {text!r}, not a number; fill it in or drop that run"
                )
            values[run, place] = value
    return values
