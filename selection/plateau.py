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
from jaxtyping import Float
from scipy.stats import kendalltau

from thresher.errors import InputError

LEAST_DROP = 0.005
"""A run whose training loss fell by a smaller share has not trained."""
LEAST_TAU = 0.8


@dataclass(frozen=True)
class Rate:
    """One learning rate of the proxy, over all recipes."""

    learning_rate: float
    drop: float
    """The least share by which the training loss of a recipe fell."""
    spread_over_noise: float | None
    """Deviation over recipes over that over seeds; None with one seed."""
    tau_below: float | None
    """Kendall's tau with the ranking at the next lower rate; None for the lowest."""
    trained: bool
    on_plateau: bool


def find_plateau(
    rates: Sequence[float],
    losses: Float[np.ndarray, "rates recipes seeds"],
    drops: Float[np.ndarray, "rates recipes"],
    *,
    least_tau: float = LEAST_TAU,
    least_drop: float = LEAST_DROP,
) -> list[Rate]:
    """Every rate from the lowest to the highest, those on the plateau marked.

    `losses` on validation data, `drops` of the training loss. The plateau begins at the lowest rate at which every
    recipe has trained and goes on while neighbours rank the recipes alike (Kendall's tau of `least_tau` or more); where
    the first step already breaks it, it is that lowest rate alone.
    """
    if len(rates) < 2 or list(rates) != sorted(set(rates)) or losses.shape[:2] != drops.shape:
        raise InputError(f"learning rates {list(rates)} must be 2 or more, each once, from low to high")
    if not np.isfinite(losses).all():
        raise InputError("some losses are not finite; leave the learning rates out at which training diverged")
    means = losses.mean(axis=2)
    trained = drops.min(axis=1) >= least_drop
    taus = [None, *(_tau(low, high) for low, high in pairwise(means))]
    found, going = [], True
    for i, rate in enumerate(rates):
        is_first = bool(trained[i]) and not trained[:i].any()
        tau = taus[i]
        going = bool(trained[i]) and (is_first or (going and tau is not None and tau >= least_tau - 1e-9))
        noise = float(np.sqrt(losses[i].var(axis=1, ddof=1).mean())) if losses.shape[2] > 1 else None
        spread = None if noise is None else float(means[i].std(ddof=1)) / noise if noise > 0 else float("inf")
        found.append(Rate(float(rate), float(drops[i].min()), spread, tau, bool(trained[i]), going))
    return found


def _tau(low: np.ndarray, high: np.ndarray) -> float:
    value: Any = kendalltau(low, high)[0]
    return float(value)


def recommend(rates: Sequence[Rate]) -> Rate | None:
    """The largest rate on the plateau; None where no rate has trained every recipe."""
    return next((rate for rate in reversed(rates) if rate.on_plateau), None)
