"""Tables of runs: mixtures and the losses they gave, read from CSV, checked, repaired where that is safe and said."""

import csv
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.seeds import numpy_rng
from thresher.selection.mixture.law import Losses, Weights

# Weights rounded to three digits sum to 1 within this; what is further off is not a rounding error.
SUM_TOLERANCE = 0.01
CONSTANT = 1e-9


@dataclass(frozen=True)
class Columns:
    """Which columns are which, by shell patterns; what `*` matches becomes the name."""

    weights: tuple[str, ...] = ("weight_*",)
    losses: tuple[str, ...] = ("loss_*",)
    index: str | None = None
    """A column that joins several files by row; without it files are one table each and only one may be given."""
    step: str | None = None
    """A column of training steps (or tokens): each mixture's losses along its run, for the step law."""
    size: str | None = None
    """A column of model sizes, for the size law."""


@dataclass(frozen=True)
class MixtureTable:
    """n runs: weights of m domains (rows sum to 1) and losses on k targets. Made by `make_table` or `read_table`."""

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Weights
    losses: Losses
    repairs: tuple[str, ...] = ()
    """What was changed in reading, one sentence each."""

    def __len__(self) -> int:
        return len(self.weights)

    def rows(self, chosen: Sequence[int] | np.ndarray) -> "MixtureTable":
        return replace(self, weights=self.weights[chosen], losses=self.losses[chosen])

    def over(self, domains: Sequence[str]) -> Weights:
        """The weights over `domains`, such as those of the table that a law was fitted to; 0 for one not here."""
        if foreign := [domain for domain in self.domains if domain not in domains]:
            raise InputError(
                f"domain {foreign[0]!r} is in these runs but not in those fitted; drop it, or fit runs with it"
            )
        weights = np.zeros((len(self), len(domains)))
        weights[:, [list(domains).index(domain) for domain in self.domains]] = self.weights
        return weights

    def only(self, targets: Sequence[str]) -> "MixtureTable":
        """The table with these targets alone."""
        if unknown := [target for target in targets if target not in self.targets]:
            raise InputError(f"no target is called {unknown[0]!r}; use one of {', '.join(self.targets)}")
        columns = [self.targets.index(target) for target in targets]
        return replace(self, targets=tuple(targets), losses=self.losses[:, columns])


def read_columns(path: Path) -> Columns:
    """From a TOML file with `weights`, `losses` (a pattern or a list of them), and names: `index`, `step`, `size`."""
    try:
        given = tomllib.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    """What the files say, before any check of its sense."""

    domains: list[str]
    targets: list[str]
    weights: Weights
    losses: Losses
    extra: dict[str, Float[np.ndarray, "n"]]
    """The columns named by `Columns.step` and `Columns.size`."""


def read_table(paths: Path | Sequence[Path], columns: Columns = Columns()) -> MixtureTable:
    """One CSV with weights and losses, or several joined on `columns.index`.

    Raises InputError for unreadable files, idle patterns, cells that are no numbers, and what `make_table` refuses.
    """
    raw = read_rows(paths, columns)
    return make_table(raw.domains, raw.targets, raw.weights, raw.losses)


def read_rows(paths: Path | Sequence[Path], columns: Columns = Columns(), *, weighted: bool = True) -> RawRows:
    """The rows of `read_table`, unchecked; without `weighted` there need be no weights (then 0 domains)."""
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if len(files) > 1 and columns.index is None:
        raise InputError(f"{len(files)} files need a column to join them on; name it as index")
    header, rows = _join([_read_csv(file, columns.index) for file in files], columns.index)
    domains = _matching(header, columns.weights, "weights") if weighted else {}
    targets = _matching(header, columns.losses, "losses")
    if both := set(domains) & set(targets):
        raise InputError(f"column {sorted(both)[0]!r} is matched as a weight and as a loss; make the patterns narrower")
    weights = [[_number(row, column) for column in domains] for row in rows]
    losses = [[_number(row, column) for column in targets] for row in rows]
    extra = {}
    for column in filter(None, (columns.step, columns.size)):
        if column not in header:
            raise InputError(f"no column is called {column!r}; the columns are {', '.join(header[:8])}")
        extra[column] = np.array([_number(row, column) for row in rows])
    names = list(domains.values()), list(targets.values())
    return RawRows(*names, np.array(weights, dtype=float), np.array(losses), extra)


def make_table(domains: Sequence[str], targets: Sequence[str], weights: Weights, losses: Losses) -> MixtureTable:
    """A checked table. Row sums within 0.01 of 1 are renormalised, exact copies of a run and domains that no run used
    are dropped; each repair is said in `repairs`. All else that cannot be used is refused."""
    weights, losses = np.asarray(weights, dtype=float), np.asarray(losses, dtype=float)
    if (
        weights.ndim != 2
        or losses.ndim != 2
        or weights.shape != (len(losses), len(domains))
        or losses.shape[1] != len(targets)
    ):
        raise InputError(
            f"weights {weights.shape} and losses {losses.shape} are no table of {len(domains)} domains and "
            f"{len(targets)} targets; give one row a run in both"
        )
    if len(weights) < 3:
        raise InputError(f"{len(weights)} runs teach nothing about mixtures; give 3 or more")
    _refuse_bad_values(domains, targets, weights, losses)
    repairs: list[str] = []
    weights = _sum_to_one(weights, repairs)
    weights, losses = _drop_copies(weights, losses, repairs)
    domains, weights = _drop_unused(domains, weights, repairs)
    return MixtureTable(tuple(domains), tuple(targets), weights, losses, tuple(repairs))


def folds(table: MixtureTable, num_folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(train rows, held-out rows) pairs; runs of one mixture are always held out together."""
    _, group = np.unique(table.weights, axis=0, return_inverse=True)
    group = group.reshape(-1)
    num_groups = int(group.max()) + 1
    order = numpy_rng(seed, "folds").permutation(num_groups)
    fold = np.empty(num_groups, dtype=int)
    fold[order] = np.arange(num_groups) % min(num_folds, num_groups)
    for number in range(min(num_folds, num_groups)):
        held = fold[group] == number
        yield np.flatnonzero(~held), np.flatnonzero(held)


def split(table: MixtureTable, test_fraction: float, seed: int) -> tuple[MixtureTable, MixtureTable]:
    """(train, test): the test part is for judging alone, no method here ever sees it."""
    if not 0 < test_fraction < 1:
        raise InputError(f"test fraction {test_fraction:g} is not between 0 and 1")
    train, test = next(folds(table, max(round(1 / test_fraction), 2), seed))
    return table.rows(train), table.rows(test)


def _read_csv(path: Path, index: str | None) -> tuple[list[str], dict[str, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (IsADirectoryError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a readable CSV ({type(error).__name__}); give a comma-separated text file"
        ) from None
    header = list(reader.fieldnames or [])
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


def _number(row: dict[str, str], column: str) -> float:
    text = (row.get(column) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"column {column!r} has {text!r}, not a number; fill it in or drop that run")
    return value


def _refuse_bad_values(domains, targets, weights, losses) -> None:
    for names, values in ((domains, weights), (targets, losses)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise InputError(f"run {bad[0][0]} has no number for {names[bad[0][1]]!r}; fill it in or drop that run")
    negative = np.argwhere(weights < 0)
    if len(negative):
        run, domain = negative[0]
        raise InputError(
            f"run {run} has weight {weights[run, domain]:g} for {domains[domain]!r}; weights are 0 or more"
        )
    flat = np.flatnonzero(np.ptp(losses, axis=0) <= CONSTANT * np.abs(losses).max(axis=0))
    if len(flat):
        raise InputError(
            f"target {targets[flat[0]]!r} has the same loss in every run, nothing to learn; drop the column"
        )


def _sum_to_one(weights: Weights, repairs: list[str]) -> Weights:
    sums = weights.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > SUM_TOLERANCE:
        raise InputError(
            f"the weights of run {worst} sum to {sums[worst]:.4g}; they must sum to 1 (within {SUM_TOLERANCE:g})"
        )
    off = int(np.sum(np.abs(sums - 1) > 1e-9))
    if off:
        repairs.append(f"the weights of {off} runs did not sum to 1 (furthest {sums[worst]:.4f}) and were renormalised")
    return weights / sums[:, None]


def _drop_copies(weights: Weights, losses: Losses, repairs: list[str]) -> tuple[Weights, Losses]:
    _, first = np.unique(np.column_stack([weights, losses]), axis=0, return_index=True)
    kept = np.sort(first)
    if len(kept) < len(weights):
        repairs.append(
            f"{len(weights) - len(kept)} runs were exact copies of another, losses included, and were dropped"
        )
    repeated = len(kept) - len(np.unique(weights[kept], axis=0))
    if repeated:
        repairs.append(f"{repeated} runs repeat a mixture with another loss; kept, and always held out together")
    if len(kept) < 3:
        raise InputError(f"only {len(kept)} different runs are left after dropping copies; give 3 or more")
    return weights[kept], losses[kept]


def _drop_unused(domains: Sequence[str], weights: Weights, repairs: list[str]) -> tuple[list[str], Weights]:
    fixed = np.ptp(weights, axis=0) <= CONSTANT
    for domain in np.flatnonzero(fixed & (weights[0] > 0)).tolist():
        share = weights[0, domain]
        raise InputError(
            f"domain {domains[domain]!r} is {share:.4g} in every run, so its effect cannot be learnt; "
            "vary it or leave it out"
        )
    if fixed.any():
        repairs.append(f"dropped domains that no run used: {', '.join(np.asarray(domains)[fixed])}")
    return [domain for domain, drop in zip(domains, fixed, strict=True) if not drop], weights[:, ~fixed]
