"""Intervals of a mean: Student's t over paired differences, percentiles of resamples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from thresher.errors import InputError


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % Student t interval."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def includes_zero(self) -> bool:
        """Whether the interval does not tell the mean from 0."""
        return self.low <= 0 <= self.high


def interval(values: Float[np.ndarray, "s"]) -> Interval:
    """The interval mean +- t_{s-1} sd / sqrt(s) of values [s], where t is the 97.5 % quantile of Student's t.

    Raises InputError for fewer than 2 values and for one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2:
        raise InputError(f"an interval needs at least 2 seeds, {n} given; train with more seeds")
    if not np.isfinite(values).all():
        raise InputError(f"{values.tolist()} are not all finite; leave out the runs that diverged, and say so")
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired(a: Float[np.ndarray, "s"], b: Float[np.ndarray, "s"]) -> Interval:
    """The interval of the mean of a - b, where a[i] and b[i] have the same seed.

    Raises InputError where the two have different lengths, and as `interval` does.
    """
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} values cannot be paired; give one value a seed on both sides")
    return interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
