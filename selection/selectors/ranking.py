"""What a method makes of a pool: an order to take it in, or what to leave out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from thresher.errors import InputError


@dataclass(frozen=True)
class Ranking:
    """The largest key is taken first; among equal keys the earlier position."""

    scores: Float[np.ndarray, "n"]
    """The method's measure in its own unit, for a reader; NaN where it has none."""
    keys: Float[np.ndarray, "n"]
    """-inf: not to be taken at all."""

    def order(self, alive: Int[np.ndarray, "m"]) -> Int[np.ndarray, "k"]:
        """The positions among `alive` that may be taken, first taken first."""
        alive = np.sort(alive)
        keys = self.keys[alive]
        if np.isnan(keys).any():
            raise InputError(f"{int(np.isnan(keys).sum())} of {len(keys)} examples have no rank (NaN); check the proxy")
        order = alive[np.argsort(-keys, kind="stable")]
        return order[: int((keys > -np.inf).sum())]


@dataclass(frozen=True)
class Filtered:
    """Who stays, of the examples that were asked about."""

    scores: Float[np.ndarray, "n"]
    keep: Bool[np.ndarray, "n"]


def by(scores: Float[np.ndarray, "n"]) -> Ranking:
    """Largest score first. Raises InputError when all are equal: they rank nothing."""
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) > 1 and scores.min() == scores.max():
        raise InputError(f"all {len(scores)} examples have the same score {scores[0]:g}; it ranks nothing")
    return Ranking(scores, scores)


def spread(values: Float[np.ndarray, "m"], alive: Int[np.ndarray, "m"], num_pool: int, fill: float) -> np.ndarray:
    """[m] at `alive` as [n], `fill` elsewhere."""
    whole = np.full(num_pool, fill)
    whole[alive] = values
    return whole
