"""Of a matrix of scores the ends: of each row the largest and the smallest, kept while blocks of columns come by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Block(NamedTuple):
    """Scores [q, c], and what is known of each of them."""

    scores: Float[np.ndarray, "q c"]
    spread: Float[np.ndarray, "q c"] | None = None
    """Standard deviation over the proxies."""
    agreeing: Int[np.ndarray, "q c"] | None = None
    """Proxies whose score has the sign of the mean."""

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "Block":
        """The block with every part changed alike."""
        spread, agreeing = (None if part is None else change(np.asarray(part)) for part in self[1:])
        return Block(change(np.asarray(self.scores)), spread, agreeing)


@dataclass(frozen=True)
class Ends:
    """Of each of q rows the columns at both ends: the k largest, then the k smallest, in order, [q, 2 k]."""

    places: Int[np.ndarray, "q two_k"]
    """Numbers of columns."""
    block: Block

    @property
    def k(self) -> int:
        """How many of each side."""
        return self.places.shape[1] // 2


@dataclass(frozen=True)
class TargetPairs:
    """Of one target."""

    forward: Ends
    """For each of its examples (the first t), pool positions."""
    back: Ends | None
    """For each pool example, positions among the target's examples; None: only `forward` is known."""


@dataclass(frozen=True)
class Together:
    """The score for a target as a whole under the proxies."""

    spread: Float[np.ndarray, "n"]
    agreeing: Int[np.ndarray, "n"]


def ends_of(block: Block, k: int) -> Ends:
    """Both ends of each row, at most k of each; among equal scores the earlier column comes first."""
    scores, rows = np.asarray(block.scores, dtype=np.float64), np.arange(len(block.scores))[:, None]
    orders = [np.argsort(sign * scores, axis=1, kind="stable")[:, :k] for sign in (-1, 1)]
    places = np.concatenate(orders, axis=1)
    return Ends(places, block.each(lambda part: part[rows, places]))


def joined(blocks: Sequence[Block], axis: int) -> Block:
    """Blocks with the same parts, one behind the other."""
    scores = np.concatenate([block.scores for block in blocks], axis=axis)
    spread = [block.spread for block in blocks if block.spread is not None]
    agreeing = [block.agreeing for block in blocks if block.agreeing is not None]
    return Block(
        scores,
        np.concatenate(spread, axis=axis) if spread else None,
        np.concatenate(agreeing, axis=axis) if agreeing else None,
    )


class RunningEnds:
    """The ends of every row while blocks of columns come by."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._best: Ends | None = None

    def add(self, start: int, block: Block) -> None:
        """Take in the columns from `start` on."""
        places = np.broadcast_to(start + np.arange(block.scores.shape[1]), block.scores.shape)
        if self._best is not None:
            places = np.concatenate([self._best.places, places], axis=1)
            block = joined([self._best.block, block], axis=1)
        found = ends_of(block, self.k)
        # With few columns a column is at both ends, and would come back twice.
        seen = Ends(np.take_along_axis(places, found.places, axis=1), found.block)
        self._best = seen if places.shape[1] >= 2 * self.k else Ends(places, block)

    def finish(self) -> Ends:
        """What was found. At least one block must have been added."""
        assert self._best is not None
        if self._best.places.shape[1] == 2 * self.k:
            return self._best
        found = ends_of(self._best.block, self.k)
        return Ends(np.take_along_axis(self._best.places, found.places, axis=1), found.block)
