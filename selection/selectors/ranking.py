"""What a method returns: an order in which to take the pool, or which examples stay."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from thresher.errors import InputError


@dataclass(frozen=True)
class Ranking:
    """An order to take the pool in: the largest key first, and among equal keys the earlier position."""

    scores: Float[np.ndarray, "n"]
    """The method's measure in its own unit, for a reader; NaN where it has none."""
    keys: Float[np.ndarray, "n"]
    """What examples are ordered by; an example with -inf is never taken."""

    def order(self, alive: Int[np.ndarray, "m"]) -> Int[np.ndarray, "k"]:
        """The positions among `alive` that may be taken, in that order. Raises InputError for keys that are NaN."""
        alive = np.sort(alive)
        keys = self.keys[alive]
        if np.isnan(keys).any():
            raise InputError(f"{int(np.isnan(keys).sum())} of {len(keys)} examples have no rank (NaN); check the proxy")
        order = alive[np.argsort(-keys, kind="stable")]
        return order[: int((keys > -np.inf).sum())]


@dataclass(frozen=True)
class Filtered:
    """What a filter decides about each example of the pool."""

    scores: Float[np.ndarray, "n"]
    """The filter's measure in its own unit; NaN where it has none."""
    keep: Bool[np.ndarray, "n"]
    """Whether the example stays; False for examples that the filter was not asked about."""


def by(scores: Float[np.ndarray, "n"]) -> Ranking:
    """The ranking that takes the largest score first. Raises InputError if all scores are equal: they rank nothing."""
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) > 1 and scores.min() == scores.max():
        raise InputError(f"all {len(scores)} examples have the same score {scores[0]:g}; it ranks nothing")
    return Ranking(scores, scores)
