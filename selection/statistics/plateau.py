"""Which learning rate a proxy should be trained at so that its ranking of recipes can be trusted.

Can Small Training Runs Reliably Guide Data Curation? (arXiv 2512.24503): ranked at a usual rate, recipes are ranked by
how well that rate suits them; ranked at a rate far below 1 / (largest eigenvalue of the validation loss's Hessian), by
how good their data is. Below some rate the ranking no longer changes: the plateau. Taken is the largest rate on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import kendalltau

from thresher.errors import InputError
from thresher.selection.statistics.decisions import spread_of

LEAST_DROP = 0.005
"""A run whose training loss fell by a smaller share has not trained."""
LEAST_TAU = 0.8
EPSILON = 1e-9


@dataclass(frozen=True)
class Rate:
    """What is known of one learning rate of the proxy, over all recipes."""

    learning_rate: float
    drop: float
    """The least share by which the training loss of a recipe fell."""
    spread_over_noise: float | None
    """Standard deviation over recipes, divided by that over seeds; None with one seed."""
    tau_below: float | None
    """Kendall's tau with the ranking at the next lower rate; None for the lowest."""
    trained: bool
    """Whether every recipe has trained at this rate."""
    on_plateau: bool


def find_plateau(
    rates: Sequence[float],
    losses: Float[np.ndarray, "rates recipes seeds"],
    drops: Float[np.ndarray, "rates recipes"],
    *,
    least_tau: float = LEAST_TAU,
    least_drop: float = LEAST_DROP,
) -> list[Rate]:
    """Judge every learning rate, from the lowest to the highest, and mark those on the plateau.

    `losses` are on validation data, `drops` are the shares by which the training loss fell. The plateau begins at the
    lowest rate at which every recipe has trained. It begins later if runs move so little there that noise ranks them:
    if the next rate ranks recipes otherwise (Kendall's tau below `least_tau`) and sets them further apart, in units of
    the noise of seeds. It goes on as long as rates rank recipes as its first one does. Raises InputError for fewer
    than 2 rates, rates out of order, and losses that are not finite.
    """
    if len(rates) < 2 or list(rates) != sorted(set(rates)) or losses.shape[:2] != drops.shape:
        raise InputError(f"learning rates {list(rates)} must be 2 or more, each once, from low to high")
    if diverged := [f"{rate:g}" for rate, own in zip(rates, losses, strict=True) if not np.isfinite(own).all()]:
        raise InputError(f"some losses are not finite at {', '.join(diverged)}; leave out rates at which runs diverged")
    means = losses.mean(axis=2)
    trained = drops.min(axis=1) >= least_drop
    taus = [None, *(_tau(low, high) for low, high in pairwise(means))]
    spreads = [spread_of(losses_at_rate) for losses_at_rate in losses]
    first = _first(trained, taus, spreads, least_tau)
    judged, going = [], True
    for i, rate in enumerate(rates):
        if i >= first:
            going = going and bool(trained[i]) and _tau(means[first], means[i]) >= least_tau - EPSILON
        on_plateau = going and i >= first
        judged.append(Rate(float(rate), float(drops[i].min()), spreads[i], taus[i], bool(trained[i]), on_plateau))
    return judged


def _first(
    trained: Bool[np.ndarray, "rates"],
    taus: Sequence[float | None],
    spreads: Sequence[float | None],
    least_tau: float,
) -> int:
    """Where the plateau begins: past rates that rank unlike the next one, which tells recipes from noise better."""
    usable = [int(i) for i in np.flatnonzero(trained)]
    if not usable:
        return len(trained)
    for i, above in pairwise(usable):
        tau, spread, spread_above = taus[above], spreads[i], spreads[above]
        if above == i + 1 and tau is not None and tau >= least_tau - EPSILON:
            return i
        if spread is None or spread_above is None or spread >= spread_above:
            break
    return usable[0]


def _tau(low: np.ndarray, high: np.ndarray) -> float:
    value: Any = kendalltau(low, high)[0]
    return float(value)


def recommend(rates: Sequence[Rate]) -> Rate | None:
    """The largest rate on the plateau; None if no rate has trained every recipe."""
    return next((rate for rate in reversed(rates) if rate.on_plateau), None)
