"""95 % intervals: Student's t of a mean over seeds, and percentiles of an estimate over resamples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from thresher.errors import InputError

TAILS = (0.025, 0.975)
"""The quantiles at which a 95 % interval ends."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval over resamples."""

    value: float
    """The estimate on everything, without resampling."""
    low: float
    """The lower end."""
    high: float
    """The upper end."""


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds with its 95 % Student t interval."""

    mean: float
    low: float
    """The lower end."""
    high: float
    """The upper end."""
    n: int
    """How many values the mean is of."""

    @property
    def includes_zero(self) -> bool:
        """Whether 0 lies in the interval, so that no difference can be told."""
        return self.low <= 0 <= self.high


def student(values: Float[np.ndarray, "n *k"]) -> tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]:
    """The mean over the n values and the half width of its interval, t_{n-1} sd / sqrt(n), t the 97.5 % quantile."""
    n = len(values)
    return np.asarray(values.mean(axis=0)), np.asarray(
        stats.t.ppf(TAILS[1], n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    )


def interval(values: Float[np.ndarray, "n"]) -> MeanInterval:
    """The mean of `values` with its Student t interval.

    Raises InputError for fewer than 2 values, and for values that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2:
        raise InputError(f"an interval needs at least 2 seeds, {n} given; train with more seeds")
    if not np.isfinite(values).all():
        raise InputError(f"{values.tolist()} are not all finite; leave out the runs that diverged, and say so")
    mean, half = map(float, student(values))
    return MeanInterval(mean, mean - half, mean + half, n)


def paired(a: Float[np.ndarray, "a"], b: Float[np.ndarray, "b"]) -> MeanInterval:
    """The interval of a - b, where a[i] and b[i] have the same seed. Raises InputError as `interval` does."""
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} values cannot be paired; give one value a seed on both sides")
    return interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))


def percentiles(draws: Float[np.ndarray, "b *k"]) -> tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]:
    """The lower and the upper end of the 95 % interval of an estimate, from its values on b resamples."""
    low, high = np.quantile(draws, TAILS, axis=0)
    return np.asarray(low), np.asarray(high)


def resampled(value: float, draws: Float[np.ndarray, "b"]) -> Interval:
    """An estimate with the percentiles of its values on b resamples; without resamples the interval is the value."""
    low, high = percentiles(draws) if len(draws) else (value, value)
    return Interval(float(value), float(low), float(high))
