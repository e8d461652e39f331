"""The result of `thresher.attribute`: scores of every pair, and what one asks of them."""

import html
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.api.positions import positions, weights_of, whole
from thresher.artifacts import Artifact, Draft, atomic_file, build
from thresher.errors import InputError
from thresher.selection.combination import combine


class Attribution:
    """Scores of every training example for every test example; higher is more helpful.

    `len(result)` is the number of training examples.
    """

    def __init__(self, artifact: Artifact, row: Callable[[int], Any] | None = None) -> None:
        """`row` gives the training example at a position, which `top` shows; None: it shows none."""
        self.artifact = artifact
        self._row = row

    @property
    def path(self) -> Path:
        """The folder that the scores are in; a temporary one unless a cache was given."""
        return self.artifact.path

    @cached_property
    def scores(self) -> Float[np.ndarray, "n t"]:
        """float32 [n_train, n_test], memory-mapped: read from disk as it is used."""
        return np.load(self.artifact.file("scores.npy"), mmap_mode="r")

    @cached_property
    def spread(self) -> Float[np.ndarray, "n t"]:
        """The standard deviation of each score over the checkpoints, [n_train, n_test]; NaN for one checkpoint."""
        if "spread.npy" not in self.artifact.meta["files"]:
            return np.broadcast_to(np.float32(np.nan), self.shape)
        return np.load(self.artifact.file("spread.npy"), mmap_mode="r")

    @property
    def shape(self) -> tuple[int, int]:
        """(n_train, n_test)."""
        num_train, num_test = self.artifact.meta["config"]["shape"]
        return num_train, num_test

    @property
    def method(self) -> str:
        """`exact`, or the projection."""
        return self.artifact.meta["config"]["method"]

    @property
    def num_checkpoints(self) -> int:
        """How many checkpoints the scores are means over."""
        return self.artifact.meta["config"]["num_checkpoints"]

    @property
    def quality(self) -> dict[str, dict[str, float]]:
        """`train` and `test` -> `loss` and, of predictions, `accuracy`: means over examples and checkpoints."""
        measured = self.artifact.facts["quality"]
        return {
            side: {name: float(np.mean([one[side][name] for one in measured])) for name in measured[0][side]}
            for side in ("train", "test")
        }

    def top(self, test: int | np.integer | None = None, k: int = 10, *, harmful: bool = False) -> Any:
        """The `k` most helpful training examples for one test example, or for all on average (`test=None`).

        A pandas DataFrame with the columns index (the position in train), score, spread (over checkpoints) and row
        (the example itself), most helpful first; `harmful=True`: most harmful first. Without pandas a list of dicts.
        Raises InputError for a test example that is not there.
        """
        if (k := whole(k, "k", "pass how many examples to show, 1 or more")) < 1:
            raise InputError(f"k={k} is too small; pass how many examples to show, 1 or more")
        if test is None:
            scores, spread = np.asarray(self.scores.mean(axis=1)), np.full(len(self), np.nan)
        else:
            test = whole(test, "test", f"pass the position of a test example, 0 to {self.shape[1] - 1}")
            self._check_tests([test])
            scores, spread = np.asarray(self.scores[:, test]), self.spread[:, test]
        order = descending(-scores if harmful else scores)[:k]
        table = {"index": order.astype(np.int64), "score": scores[order], "spread": np.asarray(spread[order])}
        rows = self._rows(order)
        try:
            import pandas as pd
        except ImportError:
            names = (*table, "row")
            return [dict(zip(names, values, strict=True)) for values in zip(*table.values(), rows, strict=True)]
        return pd.DataFrame({name: pd.Series(values) for name, values in table.items()} | {"row": _column(rows, pd)})

    def select(
        self,
        amount: float | int | np.integer,
        tests: Iterable[Any] | None = None,
        weights: Iterable[Any] | None = None,
    ) -> Int[np.ndarray, "m"]:
        """Positions of the best training examples, sorted, int64: for `torch.utils.data.Subset` or `datasets.select`.

        amount   a fraction of them (a float up to 1.0), or how many (an int)
        tests    the test examples to select for; None: all
        weights  one number, 0 or more, for each of these; None: equal

        The scores of each test example are brought to mean 0 and spread 1 over the training examples, then averaged
        (DsDm, Engstrom et al. 2024, arXiv 2401.12926); a test example whose scores are all equal has no say.
        Raises InputError for masks and fractions as positions, and for weights that are not one a test example.
        """
        chosen = list(range(self.shape[1])) if tests is None else positions(tests, "tests")
        self._check_tests(chosen)
        given = [1.0] * len(chosen) if weights is None else weights_of(weights, len(chosen))
        shares = dict(zip(map(str, chosen), given, strict=True))
        columns = {str(test): np.asarray(self.scores[:, test]) for test in chosen}
        says = {name: column for name, column in columns.items() if column.min() != column.max()}
        if not says:
            raise InputError("the scores of these test examples are all equal; they rank nothing, choose others")
        combined = combine(says, {name: float(shares[name]) for name in says})
        return np.sort(descending(combined)[: self._count(amount)]).astype(np.int64)

    def save(self, path: str | Path) -> Path:
        """The scores at `path`: a file that ends in .npy is the array alone, anything else the whole artefact.

        Where the same scores are already they stay; raises InputError where anything else is.
        """
        path = Path(path)
        if path.suffix == ".npy":
            if path.exists():
                self._check_same(path, path)
                return path
            with atomic_file(path) as file:
                np.save(file, self.scores)
            return path
        meta = self.artifact.meta

        def write(draft: Draft) -> Mapping[str, Any]:
            for name in meta["files"]:
                with draft.file(name) as file:
                    shutil.copyfile(self.artifact.file(name), file)
            return meta["facts"]

        saved = build(path, **{key: meta[key] for key in ("kind", "config", "seed", "inputs")}, write=write)
        if not saved.built:  # the request says how was scored, and of data in memory not of what
            self._check_same(path, saved.file("scores.npy"))
        return path

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        lines = [f"{name}: {_quality_line(values)}" for name, values in self.quality.items()]
        count = f"{self.num_checkpoints} checkpoint{'s' if self.num_checkpoints > 1 else ''}"
        size = f"{self.shape[0]:,} train x {self.shape[1]:,} test"
        return f"Attribution({size}, {self.method}, {count}; {'; '.join(lines)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{side}</th><td>{count:,}</td><td>{html.escape(_quality_line(self.quality[side]))}</td></tr>"
            for side, count in zip(("train", "test"), self.shape, strict=True)
        )
        head = f"<b>Attribution</b>: {html.escape(self.method)}, {self.num_checkpoints} checkpoint(s)"
        return f"{head}<table><tr><th></th><th>examples</th><th>model</th></tr>{rows}</table>"

    def _check_same(self, path: Path, array: Path) -> None:
        """Raise InputError unless `array`, which is at `path`, has these scores, as far as one machine repeats them."""
        try:
            there: Any = np.load(array, mmap_mode="r")
            atol = 1e-3 * float(np.abs(self.scores).max())
            is_same = there.shape == self.shape and np.allclose(there, self.scores, rtol=1e-3, atol=atol)
        except (OSError, ValueError, EOFError, TypeError, AttributeError):  # no array of numbers
            is_same = False
        if not is_same:
            raise InputError(
                f"{path} is there already with something else, and nothing is written over; give another path, or "
                "delete it"
            )

    def _check_tests(self, tests: Sequence[int]) -> None:
        if not tests:
            raise InputError("tests is empty; pass at least one position of a test example, or leave it out")
        for test in tests:
            if not 0 <= test < self.shape[1]:
                raise InputError(
                    f"test example {test} is not there: there are {self.shape[1]}; pass 0 to {self.shape[1] - 1}"
                )
        if len(set(tests)) < len(tests):
            raise InputError(
                "a test example stands twice among tests; give each once, and weights where one counts more"
            )

    def _count(self, amount: float | int | np.integer) -> int:
        if not isinstance(amount, float | np.floating):
            amount = whole(amount, "amount", "pass how many, or a fraction such as 0.2; all of them are 1.0")
            if not 1 <= amount <= len(self):
                raise InputError(f"count {amount} is out of range; pass 1 to {len(self)}, or a fraction such as 0.2")
            return amount
        if not 0 < amount <= 1:
            raise InputError(f"fraction {amount} is out of range; pass more than 0 and at most 1.0, or a whole number")
        return max(1, round(float(amount) * len(self)))

    def _rows(self, order: np.ndarray) -> list[Any]:
        return [None if self._row is None else self._row(int(index)) for index in order]


def descending(scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Positions from the largest score to the smallest; among equal scores the earlier position comes first."""
    return np.argsort(-scores, kind="stable")


def _column(rows: list[Any], pd: Any) -> Any:
    """A column of whatever objects, each in its own cell."""
    column = np.empty(len(rows), dtype=object)
    for position, row in enumerate(rows):
        column[position] = row
    return pd.Series(column)


def _quality_line(values: Mapping[str, float]) -> str:
    accuracy = f", accuracy {values['accuracy']:.1%}" if "accuracy" in values else ""
    return f"loss {values['loss']:.4g}{accuracy}"
