"""Losses of models of several sizes trained on several recipes, from CSV files that anybody made, long or wide."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from thresher.errors import InputError

Losses = dict[str, dict[str, list[float]]]
"""Recipe -> test set -> the loss of each seed."""


@dataclass(frozen=True, kw_only=True)
class LossColumns:
    """The names of the columns. Long: a row a loss, `test_set` says of what. Wide: a column a test set (`losses`)."""

    size: str = "size"
    recipe: str = "recipe"
    test_set: str = "test_set"
    loss: str = "loss"
    losses: tuple[str, ...] = ()
    """Shell patterns of the columns of a wide table."""
    step: str | None = None
    seed: str | None = None


@dataclass(frozen=True)
class LossTable:
    """Losses by size and step (0 in a table without steps)."""

    by_size: Mapping[str, Mapping[float, Losses]]

    @property
    def sizes(self) -> list[str]:
        """The sizes, in the order of the files."""
        return list(self.by_size)

    def last_step(self, size: str) -> float:
        """The last step that every recipe of `size` has. Raises InputError if there is none."""
        steps = self._of(size)
        recipes = {recipe for losses in steps.values() for recipe in losses}
        whole = [step for step, losses in steps.items() if losses.keys() == recipes]
        if not whole:
            raise InputError(f"the recipes of size {size!r} have no step in common; pass the step to compare at")
        return max(whole)

    def at(self, size: str, step: float | None = None, average: int = 1) -> Losses:
        """The losses of `size` at `step`; None: the last step that all its recipes have.

        With `average` above 1 those of the so many last steps up to it that all have, averaged: a single step is as
        noisy as another seed. Raises InputError where there are fewer.
        """
        last = self._last_steps(size, step, average)
        if len(last) < average:
            end = self.last_step(size) if step is None else step
            raise InputError(
                f"size {size!r} has {len(last)} steps up to {end:g}, and {average} are to be averaged; average fewer"
            )
        return {
            recipe: {name: np.mean([at[recipe][name] for at in last], axis=0).tolist() for name in sets}
            for recipe, sets in last[-1].items()
        }

    def checkpoints(self, size: str, step: float | None = None, count: int = 5) -> Losses:
        """The loss at each of the last `count` steps up to `step`, in the place of seeds: a run's own noise.

        Of recipes with several seeds the first one's. Fewer steps where there are fewer.
        """
        last = self._last_steps(size, step, count)
        return {
            recipe: {name: [at[recipe][name][0] for at in last] for name in sets} for recipe, sets in last[-1].items()
        }

    def _last_steps(self, size: str, step: float | None, count: int) -> list[Losses]:
        """The losses at the last `count` steps up to `step`, that one last; fewer where fewer have as many values."""
        steps = self._of(size)
        step = self.last_step(size) if step is None else step
        if step not in steps:
            known = ", ".join(f"{known:g}" for known in sorted(steps)[-5:])
            raise InputError(f"size {size!r} has no step {step:g}; its last ones are {known}")
        shape, last = _shape(steps[step]), [steps[step]]
        for at in sorted((at for at in steps if at < step), reverse=True):
            if len(last) == count:
                break
            if _shape(steps[at]) == shape:
                last.insert(0, steps[at])
        return last

    def _of(self, size: str) -> Mapping[float, Losses]:
        if size not in self.by_size:
            raise InputError(f"size {size!r} is not in the table; its sizes are {', '.join(self.by_size)}")
        return self.by_size[size]


def _shape(losses: Losses) -> dict[str, dict[str, int]]:
    """How many values there are of each recipe and test set."""
    return {recipe: {name: len(values) for name, values in sorted(sets.items())} for recipe, sets in losses.items()}


def common(proxy: Losses, reference: Losses) -> tuple[list[str], list[str]]:
    """The recipes and the test sets that both sides have in full.

    Test sets that only one side has are left out. Raises InputError for fewer than 3 such recipes.
    """
    recipes = [recipe for recipe in proxy if recipe in reference]
    if len(recipes) < 3:
        raise InputError(f"proxy and reference share {len(recipes)} recipes; decisions are judged on 3 or more")
    sets = [name for name in proxy[recipes[0]] if name in reference[recipes[0]]]
    complete = [r for r in recipes if all(name in side[r] for side in (proxy, reference) for name in sets)]
    if not sets or len(complete) < 3:
        raise InputError(f"{len(complete)} recipes have all {len(sets)} test sets on both sides; 3 or more are needed")
    return complete, sets


def means(losses: Losses, recipes: Sequence[str], sets: Sequence[str]) -> dict[str, list[float]]:
    """The mean loss over seeds of each recipe, by test set."""
    return {name: [float(np.mean(losses[recipe][name])) for recipe in recipes] for name in sets}


def read_losses(files: Mapping[str, Path] | Sequence[Path], columns: LossColumns) -> LossTable:
    """Read a table from its files, or from a file for each size.

    Raises InputError, naming file and line, for missing columns, losses that are no finite numbers, and a loss that is
    there twice.
    """
    by_size: dict[str, dict[float, Losses]] = defaultdict(dict)
    seen: set[tuple] = set()
    for size, path in _named(files):
        for line, row in _rows(path, columns, size):
            row_size = size or row[columns.size]
            step = _number(row[columns.step], path, line) if columns.step else 0.0
            seed = row[columns.seed] if columns.seed else ""
            for name, loss in _losses(row, columns, path, line):
                key = (row_size, step, row[columns.recipe], name, seed)
                if key in seen:
                    hint = "" if columns.seed else " (name the seeds' column if these are seeds)"
                    raise InputError(f"{path} line {line}: {name!r} of {row[columns.recipe]!r} is there twice{hint}")
                seen.add(key)
                recipe = by_size[row_size].setdefault(step, {}).setdefault(row[columns.recipe], {})
                recipe.setdefault(name, []).append(loss)
    return LossTable(dict(by_size))


def read_means(
    files: Mapping[str, Path] | Sequence[Path], columns: LossColumns, others: Sequence[str]
) -> list[dict[str, float]]:
    """The means by size of other columns of a table, such as `flops`; empty of one that is not all numbers above 0."""
    found: list[dict[str, list[float]]] = [defaultdict(list) for _ in others]
    for size, path in _named(files):
        for _, row in _rows(path, columns, size):
            for name, by_size in zip(others, found, strict=True):
                by_size[size or row[columns.size]].append(_positive(row.get(name)))
    return [
        {} if np.isnan([value for values in by_size.values() for value in values]).any()
        else {size: float(np.mean(values)) for size, values in by_size.items()}
        for by_size in found
    ]  # fmt: skip


def _named(files: Mapping[str, Path] | Sequence[Path]) -> list[tuple[str | None, Path]]:
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
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            for name in needed:
                if name not in header:
                    raise InputError(f"{path} has no column {name!r}; its columns are: {', '.join(header)}")
            empty = True
            for row in reader:
                empty = False
                if None in row.values():
                    raise InputError(f"{path} line {reader.line_num} has fewer fields than the header; repair it")
                yield reader.line_num, row
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}); convert it") from None
    except (csv.Error, IsADirectoryError) as error:
        raise InputError(f"{path} is not a readable CSV ({type(error).__name__}); give a table with commas") from None
    if empty:
        raise InputError(f"{path} has no rows; give a table with some")


def _losses(row: Mapping[str, str], columns: LossColumns, path: Path, line: int) -> Iterator[tuple[str, float]]:
    if not columns.losses:
        yield row[columns.test_set], _number(row[columns.loss], path, line)
        return
    names = [name for name in row if any(fnmatchcase(name, pattern) for pattern in columns.losses)]
    if not names:
        raise InputError(f"{path}: no column matches {' '.join(columns.losses)}; its columns are: {', '.join(row)}")
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
