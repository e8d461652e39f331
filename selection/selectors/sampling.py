"""Drawing instead of taking the top, and taking the best more than once."""

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.selection.evidence import Evidence


def gumbel(evidence: Evidence, *names: str) -> Float[np.ndarray, "n"]:
    """Standard Gumbel noise, one an example; it belongs to the example's id and not to its place in the pool."""
    noise = np.empty(len(evidence))
    noise[evidence.canonical] = evidence.rng("gumbel", *names).gumbel(size=len(evidence))
    return noise


def tempered(keys: Float[np.ndarray, "n"], temperature: float, evidence: Evidence) -> Float[np.ndarray, "n"]:
    """z + T * Gumbel, z the keys in standard deviations (of those above -inf).

    Taking the largest k of these draws k examples one after the other without replacement, each with probability
    proportional to softmax(z / T) over those left (Gumbel top-k; Kool et al. 2019, 1903.06059). T = 0: the top k.
    """
    if not 0 <= temperature < np.inf:
        raise InputError(f"temperature={temperature} must be 0 or more; pass 0 for the top, 1 for a draw")
    if temperature == 0:
        return keys
    there = keys > -np.inf
    sd = keys[there].std() or 1.0
    return (keys - keys[there].mean()) / sd + temperature * gumbel(evidence, "temperature")


def repeated(
    order: Int[np.ndarray, "m"], keys: Float[np.ndarray, "n"], repeats: int, cost: float
) -> Int[np.ndarray, "r*m"]:
    """An order in which an example may stand up to `repeats` times: its r-th time is worth z - (r - 1) * cost.

    z are the keys in standard deviations of those in `order`. cost = 0: every one taken is taken `repeats` times.
    """
    if repeats < 1:
        raise InputError(f"repeats={repeats} keeps nothing; pass 1 or more")
    if not 0 <= cost < np.inf:
        raise InputError(f"repeat_cost={cost} must be 0 or more, in standard deviations of the scores; pass such a one")
    if repeats == 1 or not len(order):
        return order
    own = keys[order]
    worth = ((own - own.mean()) / (own.std() or 1.0))[:, None] - cost * np.arange(repeats)
    # Row by row, so that among equals the copies of one example stand together, the better-ranked one's first.
    return np.repeat(order, repeats)[np.argsort(-worth.ravel(), kind="stable")]
