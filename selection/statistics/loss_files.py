"""Reading losses of several sizes and recipes from CSV files that anybody made, long or wide."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from thresher.errors import InputError
from thresher.selection.statistics.loss_table import LossTable, Runs

OTHERS = ("flops", "seconds")
"""Columns that say what a run cost."""


@dataclass(frozen=True, kw_only=True)
class LossColumns:
    """The names of the columns. Long: a row a loss, `test_set` says of what. Wide: a column a test set (`losses`)."""

    size: str = "size"
    recipe: str = "recipe"
    test_set: str = "test_set"
    loss: str = "loss"
    losses: tuple[str, ...] = ()
    """Shell patterns of the columns of a wide table; what the other columns here name, and what a run cost, is none."""
    step: str | None = None
    seed: str | None = None

    @property
    def keys(self) -> set[str]:
        """The columns that say which loss a row has, which are no losses."""
        return {name for name in (self.size, self.recipe, self.step, self.seed, "", *OTHERS) if name is not None}


Files = Mapping[str, Path] | Sequence[Path]
"""The files of a table, or the file of each size."""


def read_losses(files: Files, columns: LossColumns) -> LossTable:
    """Read a table from its files, or from a file for each size.

    Raises InputError, naming file and line, for missing columns, rows that do not fit the header, names that are empty,
    losses that are no finite numbers, and a loss that is there twice.
    """
    by_size: dict[str, dict[float, Runs]] = defaultdict(dict)
    for size, path in _named(files):
        for line, row in _rows(path, columns, size):
            row_size = size or _name(row, columns.size, path, line)
            recipe = _name(row, columns.recipe, path, line)
            step = _step(row, columns, path, line)
            seed = row[columns.seed] if columns.seed else ""
            runs = by_size[row_size].setdefault(step, {}).setdefault(recipe, {})
            for name, loss in _losses(row, columns, path, line):
                seeds = runs.setdefault(name, {})
                if seed in seeds:
                    hint = (
                        ""
                        if columns.seed
                        else "; if these are seeds or steps, name their column (--seed-column, --step)"
                    )
                    raise InputError(f"{path} line {line}: {name!r} of {recipe!r} is there twice{hint}")
                seeds[seed] = loss
    return LossTable(dict(by_size))


def read_costs(
    files: Files, columns: LossColumns, ends: Mapping[str, tuple[str, float]], shares: Mapping[str, float]
) -> list[dict[str, float]]:
    """What a run cost up to where it is judged, by the columns OTHERS: of each, entry -> the mean over its rows.

    `ends` maps an entry (SIZE or SIZE@STEP) to its size and step, `shares` to the part of a run that was done by then.
    A column that says the same of every step is of the whole run, and is counted by that part. Empty of a column that
    is not there, or not all numbers above 0.
    """
    found: list[dict[tuple[str, float], list[float]]] = [defaultdict(list) for _ in OTHERS]
    for size, path in _named(files):
        for line, row in _rows(path, columns, size):
            key = (size or row[columns.size], _step(row, columns, path, line))
            for name, by_end in zip(OTHERS, found, strict=True):
                by_end[key].append(_positive(row.get(name)))
    costs = []
    for by_end in found:
        # Rounded alike in whatever order the rows stand.
        mean = {key: math.fsum(sorted(values)) / len(values) for key, values in by_end.items()}
        known = not np.isnan([*mean.values()]).any()
        of_size = {size: [own for (name, _), own in mean.items() if name == size] for size, _ in ends.values()}
        is_whole = {size: np.allclose(own, own[0], rtol=1e-9, atol=0) for size, own in of_size.items()}
        parts = {entry: shares[entry] if is_whole[size] else 1.0 for entry, (size, _) in ends.items()}
        costs.append({entry: mean[end] * parts[entry] for entry, end in ends.items()} if known else {})
    return costs


def _named(files: Files) -> list[tuple[str | None, Path]]:
    return [*files.items()] if isinstance(files, Mapping) else [(None, path) for path in files]


def _positive(text: str | None) -> float:
    """A number above 0; NaN of anything else."""
    try:
        value = float(text or "nan")
    except ValueError:
        return math.nan
    return value if 0 < value < math.inf else math.nan


def _rows(path: Path, columns: LossColumns, size: str | None) -> Iterator[tuple[int, dict[str, str]]]:
    needed = [columns.recipe, *([] if size else [columns.size])]
    needed += [] if columns.losses else [columns.test_set, columns.loss]
    needed += [name for name in (columns.step, columns.seed) if name]
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_header(path, reader.fieldnames or [], needed)
            empty = True
            for row in reader:
                empty = False
                if None in row.values():
                    raise InputError(f"{path} line {reader.line_num} has fewer fields than the header; repair it")
                if None in row:
                    raise InputError(
                        f"{path} line {reader.line_num} has more fields than the header; write decimal points, and "
                        "put what has commas in quotation marks"
                    )
                yield reader.line_num, row
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}); convert it") from None
    except (csv.Error, IsADirectoryError) as error:
        raise InputError(f"{path} is not a readable CSV ({type(error).__name__}); give a table with commas") from None
    if empty:
        raise InputError(f"{path} has no rows; give a table with some")


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    if not header:
        raise InputError(f"{path} is empty; give a table with a header and rows")
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise InputError(f"{path} has the column {twice[0]!r} twice; rename or remove one")
    for name in needed:
        if name not in header:
            other = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
            what = "" if other is None else f" (fields are set apart by {other!r}; write commas)"
            raise InputError(f"{path} has no column {name!r}; its columns are: {', '.join(header)}{what}")


def _name(row: Mapping[str, str], column: str, path: Path, line: int) -> str:
    if not row[column].strip():
        raise InputError(f"{path} line {line}: {column!r} is empty; fill it in, or leave the row out")
    return row[column]


def _step(row: Mapping[str, str], columns: LossColumns, path: Path, line: int) -> float:
    return _number(row[columns.step], path, line) if columns.step else 0.0


def _losses(row: Mapping[str, str], columns: LossColumns, path: Path, line: int) -> Iterator[tuple[str, float]]:
    if not columns.losses:
        yield _name(row, columns.test_set, path, line), _number(row[columns.loss], path, line)
        return
    others = [name for name in row if name not in columns.keys]
    names = [name for name in others if any(fnmatchcase(name, pattern) for pattern in columns.losses)]
    if not names:
        raise InputError(f"{path}: no column matches {' '.join(columns.losses)}; there are: {', '.join(others)}")
    for name in names:
        yield name, _number(row[name], path, line)


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path} line {line}: {text!r} is no finite number; correct it, or leave the run out")
    return value
