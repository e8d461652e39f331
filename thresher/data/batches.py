"""Examples in batches of like length: windows are read, examples are what is measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from thresher.data.examples import Examples, add_shares
from thresher.outputs import Batch

# Examples the reader is set up with: those with the most positions.
PROBE = 2


@dataclass(frozen=True)
class Part:
    """Some rows of prepared examples, their windows in batches of like length.

    What is read is of windows; `Shares` turns it into what holds for examples.
    """

    examples: Examples
    rows: Int[np.ndarray, "n"]
    batch_tokens: int | None = None
    """Tokens, or images, in a batch once padded; None: 8,192 or 256."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _windows(self) -> tuple[Int[np.ndarray, "w"], Int[np.ndarray, "w"]]:
        """Their numbers, and the position in `rows` of the example of each."""
        return self.examples.windows_of(self.rows)

    @property
    def budget(self) -> int:
        """Tokens, or images, in a batch once padded."""
        return self.batch_tokens or (8192 if bool((self._lengths() > 1).any()) else 256)

    @property
    def num_windows(self) -> int:
        """How many windows the rows have in all."""
        return len(self._windows[0])

    def batches(self, most: int | None = None) -> Iterator[tuple["Shares", Batch]]:
        """(whose windows they are, the batch), at most `most` windows in each."""
        for members in self.memberships(most):
            yield self.shares(members), self.batch(members)

    def memberships(self, most: int | None = None) -> Iterator[Int[np.ndarray, "b"]]:
        """Windows of the part, counted from 0, in batches."""
        for members in balanced_batches(self._lengths(), self.budget):
            for low in range(0, len(members), most or len(members)):
                yield members[low : low + (most or len(members))]

    def shares(self, members: Int[np.ndarray, "b"]) -> "Shares":
        """Which examples these windows of the part are of."""
        return Shares(self._windows[1][members], self.examples.windows.weights[self.numbers(members)])

    def numbers(self, members: Int[np.ndarray, "b"]) -> Int[np.ndarray, "b"]:
        """The numbers of these windows of the part among all windows of the examples."""
        return self._windows[0][members]

    def batch(self, members: Int[np.ndarray, "b"]) -> Batch:
        """These windows of the part as model input."""
        return self.examples.batch(self.numbers(members))

    def probe(self) -> Batch:
        """The longest windows as model input: they have the most positions."""
        return self.batch(np.argsort(-self._lengths(), kind="stable")[:PROBE])

    def _lengths(self) -> Int[np.ndarray, "w"]:
        return np.asarray(self.examples.windows.lengths)[self._windows[0]]


@dataclass(frozen=True)
class Shares:
    """Which example each window of a batch is of, and the share of it that it counts for."""

    owners: Int[np.ndarray, "b"]
    """Positions in the part."""
    weights: Float[np.ndarray, "b"]

    def __len__(self) -> int:
        return len(self.owners)

    def add(self, total: Tensor, values: Float[Tensor, "b ..."]) -> None:
        """Add what was read of the windows to `total` [n, ...] of the examples."""
        add_shares(total, self.owners, self.weights, values)


def all_of(examples: Examples, batch_tokens: int | None = None) -> Part:
    """All rows of the examples as one part."""
    return Part(examples, np.arange(len(examples)), batch_tokens)


def balanced_batches(lengths: Int[np.ndarray, "n"], budget: int) -> Iterator[Int[np.ndarray, "b"]]:
    """Positions in batches of like length: sorted by length, each at most `budget` once padded to its longest."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        # The next example would be the longest of the batch.
        if stop == len(order) or (stop - start + 1) * int(lengths[order[stop]]) > budget:
            yield order[start:stop]
            start = stop
