"""Draw examples instead of taking the best, or take the best ones more than once."""

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.selection.evidence import Evidence


def gumbel(evidence: Evidence, *names: str) -> Float[np.ndarray, "n"]:
    """Standard Gumbel noise for each example, which depends on the example's id and not on its place in the pool."""
    noise = np.empty(len(evidence))
    noise[evidence.canonical] = evidence.rng("gumbel", *names).gumbel(size=len(evidence))
    return noise


def tempered(
    keys: Float[np.ndarray, "n"], temperature: float, evidence: Evidence, turn: int = 0
) -> Float[np.ndarray, "n"]:
    """The keys z + T * Gumbel, with z the given keys in standard deviations of those above -inf.

    The largest k of them are a draw of k examples one after the other without replacement, each with a probability
    proportional to softmax(z / T) over those left (Gumbel top-k; Kool et al. 2019, 1903.06059). T = 0 gives the keys
    back. Of several draws in a line each has noise of its own, by `turn`: what came through one draw had luck in it.
    Raises InputError for a temperature below 0.
    """
    if not 0 <= temperature < np.inf:
        raise InputError(f"temperature={temperature} must be 0 or more; pass 0 for the top, 1 for a draw")
    if temperature == 0:
        return keys
    allowed = keys > -np.inf
    deviation = keys[allowed].std() or 1.0
    return (keys - keys[allowed].mean()) / deviation + temperature * gumbel(
        evidence, "temperature", *([str(turn)] if turn else [])
    )


def repeated(
    order: Int[np.ndarray, "m"], keys: Float[np.ndarray, "n"], repeats: int, cost: float
) -> Int[np.ndarray, "k"]:
    """An order in which each example may stand up to `repeats` times: its r-th time is worth z - (r - 1) * cost.

    z is the example's key in standard deviations of the keys in `order`. With cost = 0, each example that is taken is
    taken `repeats` times. Raises InputError for fewer than 1 repeat and a cost below 0.
    """
    if repeats < 1:
        raise InputError(f"repeats={repeats} keeps nothing; pass 1 or more")
    if not 0 <= cost < np.inf:
        raise InputError(
            f"repeat_cost={cost} is no cost; pass the standard deviations of score that each repeat loses, 0 or more "
            "(1 is usual)"
        )
    if repeats == 1 or not len(order):
        return order
    ordered = keys[order]
    worth = ((ordered - ordered.mean()) / (ordered.std() or 1.0))[:, None] - cost * np.arange(repeats)
    # Row by row, so that among equals the copies of one example stand together, the better-ranked one's first.
    return np.repeat(order, repeats)[np.argsort(-worth.ravel(), kind="stable")]
