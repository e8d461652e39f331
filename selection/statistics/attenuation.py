"""What the noise of runs takes from how well a proxy and the reference agree, and what more seeds would give back.

Of recipes whose losses are jointly Gaussian at both sizes, with correlation rho, the measures of `decisions` are

    decision_accuracy  1/2 + arcsin(rho) / pi
    weighted_accuracy  (1 + rho) / 2
    clear_accuracy     E[Phi(rho |z| / sqrt(1 - rho^2)), |z| > c], z Gaussian, c the difference that counts as clear
    spearman           6 / pi arcsin(rho / 2)
    r2                 rho^2

and noise makes rho of what it would be without: rho = rho_true sqrt(r r'), r and r' the share of the variance of the
recipes' means that is their own at the two sizes (`Signal.own_share`; Spearman 1904). k times the seeds make a share
r k / (1 + (k - 1) r) (Spearman-Brown). So a value that was measured says what rho_true is, and that what the value
would be with more seeds.
"""

from collections.abc import Mapping
from math import asin, pi, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from thresher.selection.statistics.signal import CLEAR, Signal

Sides = tuple[Signal | None, Signal | None]
"""Of one test set, the signal at the proxy and at the reference; None where noise is not known."""
POINTS = (np.arange(400) + 0.5) / 400
STEPS = 50
"""Halvings in the search for rho."""


def share_with(signal: Signal | None, times: float) -> float:
    """The own share of means of `times` as many seeds; 1 where noise is not known."""
    return 1.0 if signal is None else signal.own_share * times / (1 + (times - 1) * signal.own_share)


def value_of(measure: str, rho: float, reference_share: float = 1.0) -> float:
    """The measure at correlation `rho`; for clear_accuracy `reference_share` says which pairs are clear."""
    if measure == "decision_accuracy":
        return 0.5 + asin(rho) / pi
    if measure == "weighted_accuracy":
        return (1 + rho) / 2
    if measure == "spearman":
        return 6 / pi * asin(rho / 2)
    if measure == "r2":
        return rho**2
    z = -ndtri(ndtr(-CLEAR * sqrt(1 - reference_share)) * POINTS)
    return float(ndtr(rho * z / sqrt(max(1 - rho**2, 1e-12))).mean())


def rho_of(measure: str, value: float, reference_share: float = 1.0) -> float:
    """The correlation at which the measure has `value`, by halving; 0 and 1 beyond what it can have."""
    low, high = 0.0, 1.0
    if value >= value_of(measure, high, reference_share):
        return high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if value_of(measure, middle, reference_share) < value else (low, middle)
    return low


def with_seeds(measure: str, value: float, sides: Sides, times: tuple[float, float]) -> float:
    """What a measured `value` would be with `times` as many seeds at the proxy and at the reference, 1 or more.

    Never less than it is: where a value is above what noise allows, luck has made it so.
    """
    now, then = ([share_with(side, k) for side, k in zip(sides, of, strict=True)] for of in ((1.0, 1.0), times))
    if not now[0] * now[1]:
        return value
    true = min(1.0, rho_of(measure, value, now[1]) / sqrt(now[0] * now[1]))
    return max(value, value_of(measure, true * sqrt(then[0] * then[1]), then[1]))


def best_with_seeds(
    measure: str, signals: Mapping[str, Sides], times: tuple[float, float], weights: Mapping[str, float] | None = None
) -> float:
    """The mean over test sets of what a proxy without any fault of its own would reach with so many more seeds.

    `weights`: how much each test set counts, as in the mean that it is held against; None: all alike.
    """
    best = []
    for sides in signals.values():
        proxy, reference = (share_with(side, k) for side, k in zip(sides, times, strict=True))
        best.append(value_of(measure, sqrt(proxy * reference), reference))
    return float(np.average(best, weights=None if weights is None else [weights[name] for name in signals]))
