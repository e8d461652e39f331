"""The compute multiplier: how many times more compute random data needs to reach the loss of a selection.

Random data is trained at several budgets, and each seed's losses are fitted by a line in the logarithm of compute; the
fit is inverted at the loss that the same seed reaches on the selection (DsDm, arXiv 2401.12926, section 4, reads it off
a curve in the same way). Loss falls ever more slowly with log compute, so beyond the largest budget tried the line is
too steep and the multiplier too small: a cautious figure, and marked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thresher.errors import InputError
from thresher.intervals import Interval, interval

LEAST_BUDGETS = 3


@dataclass(frozen=True)
class Multiplier:
    """Geometric means over seeds, with 95 % intervals."""

    alone: Interval
    """Compute that random data needs for the same loss, over what training on the selection took."""
    with_cost: Interval | None
    """The same, the cost of selecting added to what the selection took; None where it is not known."""
    beyond: bool
    """Whether the mean loss lies outside those of the budgets tried."""


def compute_multiplier(
    random: Mapping[float, Sequence[float]], compute: float, losses: Sequence[float], *, cost: float | None = None
) -> Multiplier | None:
    """From the losses of random data at three or more amounts of compute, seed by seed, and of an arm at `compute`.

    `random`: compute -> losses [s]; `losses` [s], the same seeds in the same order; `cost` in the unit of compute.
    None where random data does not get better with compute for some seed, so nothing can be inverted.
    Raises InputError for fewer budgets or seeds than it takes, or numbers that are not positive and finite.
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


def _exponential(logs: np.ndarray) -> Interval:
    found = interval(logs)
    mean, low, high = np.exp([found.mean, found.low, found.high]).tolist()
    return Interval(mean, low, high, found.n)
