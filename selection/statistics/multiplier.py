"""The compute multiplier: how many times more compute random data needs to reach the loss of a selection.

Random data is trained at several budgets, and each seed's losses are fitted by a line in the logarithm of compute; the
fit is inverted at the loss that the same seed reaches on the selection (DsDm, arXiv 2401.12926, section 4, reads it off
a curve in the same way). Loss falls ever more slowly with log compute, so beyond the largest budget tried the line is
too steep and the multiplier too small: a cautious figure, and marked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.intervals import MeanInterval, interval

LEAST_BUDGETS = 3


@dataclass(frozen=True)
class Multiplier:
    """Geometric means over seeds, with 95 % intervals."""

    alone: MeanInterval
    """Compute that random data needs for the same loss, over what training on the selection took."""
    with_cost: MeanInterval | None
    """The same, the cost of selecting added to what the selection took; None where it is not known."""
    beyond: bool
    """Whether the mean loss lies outside those of the budgets tried."""


def compute_multiplier(
    random: Mapping[float, Sequence[float]], compute: float, losses: Sequence[float], *, cost: float | None = None
) -> Multiplier | None:
    """The multiplier of an arm that reaches `losses` at `compute`.

    `random` maps three or more amounts of compute to the losses of random data, one for each of s seeds; `losses` has
    one for each of the same seeds in the same order. `cost` is that of selecting, in the unit of compute. None if for
    some seed random data does not get better with compute, because then nothing can be inverted. Raises InputError for
    too few budgets or seeds, and for numbers that are not finite and positive.
    """
    amounts = np.array(sorted(random), dtype=np.float64)
    if len(amounts) < LEAST_BUDGETS:
        raise InputError(f"{len(amounts)} budgets of random data; a compute multiplier needs {LEAST_BUDGETS} or more")
    if not (np.isfinite(amounts).all() and amounts[0] > 0 and 0 < compute < np.inf and (cost is None or cost >= 0)):
        raise InputError(f"compute {[*amounts.tolist(), compute]} and cost {cost} must be finite and above 0")
    curves = np.array([random[amount] for amount in amounts], dtype=np.float64)  # [budgets, s]
    reached = np.asarray(losses, dtype=np.float64)
    if curves.shape[1:] != reached.shape:
        raise InputError(f"{curves.shape[1]} seeds of random data, {len(reached)} of the arm; give the same seeds")
    slopes, starts = np.polyfit(np.log(amounts), curves, 1)
    if (slopes >= 0).any():
        return None
    logs = (reached - starts) / slopes - np.log(compute)
    means = curves.mean(axis=1)
    share = None if cost is None else np.log(compute / (compute + cost))
    return Multiplier(
        alone=_exponential(logs),
        with_cost=None if share is None else _exponential(logs + share),
        beyond=bool(not means.min() <= reached.mean() <= means.max()),
    )


def _exponential(logs: Float[np.ndarray, "s"]) -> MeanInterval:
    of_logs = interval(logs)
    mean, low, high = np.exp([of_logs.mean, of_logs.low, of_logs.high]).tolist()
    return MeanInterval(mean, low, high, of_logs.n)
