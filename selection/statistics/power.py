"""What a handful of recipes can say: resamples that leave room for a recipe nobody has seen, and how many would decide.

Resampling n recipes draws nothing but those n. Where all of them agree, every resample agrees, and the percentile
interval is [1, 1] for 3 recipes as for 300. So each resample here is of n + 1: the recipes, and one *unseen* recipe
that the proxy places by a coin. If u of the n + 1 draws fall on it,

    correlations (Pearson, Spearman)   times 1 - u / (n + 1): it varies as the others do, and goes with nothing
    decision accuracy                  a pair of it with a recipe counts as half ordered alike
    regret@k                           it has the place of one random recipe at the proxy, the loss of another at the
                                       reference

This is the rule of succession (one doubtful observation beside those seen), in the resample rather than in the value:
values are those of the recipes. The unseen one weighs 1 / (n + 1), so it goes as recipes are added. Where they are far
from agreeing the interval is hardly another than that of the recipes alone. By simulation (`benchmarks/selection/
coverage.py`, numbers in docs/studies.md) the intervals hold the truth as often as they say, where proxies err by noise,
by noise with heavy tails, or know nothing of a share of the recipes.

What holds whatever recipes are like: n have n / 2 pairs without a common recipe, so that all pairs agree with
probability A^(n/2) at most, A the decision accuracy (Hoeffding 1963, section 5a), and there are recipes that reach it:
where a share of them is out of order with every other. The exact (Clopper-Pearson) end at full agreement is then
.025^(2/n): .541 at n = 12, where the rule above gives .79, and 71 recipes for .9 in place of 29. That is too blunt to
tell a usable study from another, so against that one population the rule gives less than it says: at full agreement it
holds the truth in 1 - `best_low`^(n/2) of cases, .76 at n = 12, until such a recipe has been seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np
from jaxtyping import Float, Int

from thresher.intervals import TAILS, Interval
from thresher.seeds import numpy_rng

LEAST_RECIPES = 5
"""Two orders of 5 that know nothing of each other agree fully in 1 of 120 cases, of 4 in 1 of 24: more often than the
.025 by which an interval may miss on one side."""
MOST_RECIPES = 4096
"""Where a search for the number of recipes that would decide ends."""
NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Resamples:
    """b resamples of n recipes and an unseen one; the first row is the recipes as they are."""

    weights: Float[np.ndarray, "b n"]
    """How often each recipe was drawn."""
    unseen: Float[np.ndarray, "b"]
    """How often the unseen one was."""
    places: Int[np.ndarray, "b 2"]
    """For each row two recipes: whose place at the proxy, and whose loss at the reference, the unseen one has."""
    coins: Float[np.ndarray, "b n"]
    """What decides, in each row, between recipes that are the same at the proxy: the smaller first."""

    def shrink(self, correlation: Float[np.ndarray, "b"]) -> Float[np.ndarray, "b"]:
        """Correlations over the recipes drawn -> with the unseen one among them."""
        return correlation * (1 - self.unseen / (self.weights.sum(axis=1) + self.unseen))


def draw_recipes(num_recipes: int, num_resamples: int, seed: int) -> Resamples:
    """The recipes as they are, then `num_resamples` draws of n + 1 from them and the unseen one."""
    rng, size = numpy_rng(seed, "recipes"), num_recipes + 1
    drawn = rng.multinomial(size, [1 / size] * size, size=num_resamples)
    weights = np.vstack([np.ones(num_recipes), drawn[:, :-1]])
    places = rng.integers(num_recipes, size=(num_resamples + 1, 2))
    return Resamples(weights, np.concatenate([[0.0], drawn[:, -1]]), places, rng.random(weights.shape))


def resampled_recipes(values: Float[np.ndarray, "2 b"]) -> Interval:
    """The value of the recipes as they are, the first of a row, with percentiles of the other b - 1.

    `values` are with the unseen recipe and without it. The lower end is taken of the smaller of the two in each
    resample, the upper end of the larger, for the unseen one leaves room and takes none; the value lies between.
    """
    value, without = values[0, 0], values[:, 1:]
    if not without.size:
        return Interval(float(value), float(value), float(value))
    low, high = np.quantile(without.min(axis=0), TAILS[0]), np.quantile(without.max(axis=0), TAILS[1])
    return Interval(float(value), float(min(value, low)), float(max(value, high)))


def by_chance(num_recipes: int) -> float:
    """The probability that two orders of n recipes without ties agree fully although neither knows of the other."""
    return 1 / factorial(min(num_recipes, 100))


@lru_cache(maxsize=4096)
def best_low(measure: str, num_recipes: int) -> float:
    """The lower end of the interval of `measure` where n recipes agree fully: no study of n can reach more.

    `measure` is one of MEASURES; accuracies of all kinds end alike. In full agreement a resample with u unseen has
    decision accuracy
    1 - u (n + 1 - u) / (2 P), with P its pairs of different recipes, and correlation 1 - u / (n + 1). Of 4,000
    resamples, one seed. 1/2 and 0 at the least recipes: nothing is known.
    """
    drawn = draw_recipes(num_recipes, 4000, 0)
    seen = drawn.weights.sum(axis=1)
    if measure.endswith("accuracy"):
        values = mixed_agreement(np.ones_like(seen), seen_pairs(drawn.weights), drawn)
    else:
        several = (seen_pairs(drawn.weights) > 0).astype(np.float64)  # of one recipe alone there is no correlation
        values = drawn.shrink(several) ** (2 if measure == "r2" else 1)
    return resampled_recipes(np.stack([values, values])).low


def seen_pairs(weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b"]:
    """How many pairs of different recipes each resample has, each pair once for every two draws that form it."""
    return (weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)) / 2


def mixed_agreement(
    agreement: Float[np.ndarray, "b"], pairs: Float[np.ndarray, "b"], drawn: Resamples
) -> Float[np.ndarray, "b"]:
    """The share of pairs ordered alike, `agreement` of the `pairs` seen, with those of the unseen recipe as a half.

    A resample without a pair is of one recipe alone: 1/2, for it says nothing.
    """
    unseen = drawn.unseen * drawn.weights.sum(axis=1)
    alike, total = agreement * pairs + unseen / 2, pairs + unseen
    return np.divide(alike, total, out=np.full_like(alike, 0.5), where=total > 0)


def recipes_needed(measure: str, threshold: float) -> int:
    """The least number of recipes whose interval can reach `threshold` at all, if they agree fully.

    At least LEAST_RECIPES: fewer agree fully by luck more often than an interval may fail on one side.
    """
    return _least(LEAST_RECIPES, lambda n: best_low(measure, n) >= threshold) or MOST_RECIPES


def recipes_to_decide(measure: str, found: Interval, num_recipes: int, threshold: float) -> int | None:
    """About how many recipes would bring the interval clear of the threshold, if the value stays what it is.

    None if the value is the threshold, or so near that more than MOST_RECIPES would be needed.
    """
    if found.value == threshold:
        return None

    def clear(number: int) -> bool:
        if found.value < threshold:
            high = found.value + (found.high - found.value) * (num_recipes / number) ** 0.5
            return high <= threshold + NEGLIGIBLE
        return low_with(measure, found, num_recipes, number, found.value) >= threshold - NEGLIGIBLE

    return _least(max(num_recipes + 1, LEAST_RECIPES), clear)


def low_with(measure: str, found: Interval, num_recipes: int, more_recipes: int, value: float) -> float:
    """About the lower end that `more_recipes` recipes would give with `value`, from the interval `found` of
    `num_recipes`.

    Of the distance from a value to its lower end, what the unseen recipe makes is 1 - `best_low`, and goes as 1 / n;
    the rest (in squares) is the recipes' disagreement. That goes as 1 / sqrt(n), and with the value as the standard
    deviation of such a share or correlation does: sqrt(v (1 - v)), or 1 - v^2.
    """
    scale = (num_recipes / more_recipes) ** 0.5
    if deviation := _deviation(measure, found.value):
        scale *= _deviation(measure, value) / deviation
    rest = max(0.0, (found.value - found.low) ** 2 - (1 - best_low(measure, num_recipes)) ** 2)
    unseen = 1 - best_low(measure, more_recipes)
    return value - (rest * scale**2 + unseen**2) ** 0.5


def _deviation(measure: str, value: float) -> float:
    """Of a measure at a value, its standard deviation up to a factor."""
    if measure.endswith("accuracy"):
        return (max(value, 0.0) * max(1 - value, 0.0)) ** 0.5
    return 1 - value**2 if measure == "spearman" else 2 * max(value, 0.0) ** 0.5 * (1 - value)


def _least(start: int, reached: Callable[[int], bool]) -> int | None:
    """The least n from `start` on at which `reached`, which stays once it is; None beyond MOST_RECIPES."""
    low, high = start - 1, start
    while not reached(high):
        low, high = high, 2 * high
        if low >= MOST_RECIPES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
