"""Which further runs would decide whether a proxy holds, and what they cost: more recipes, more seeds, or both.

More recipes narrow the interval (`power.low_with`); more seeds raise the value, as far as noise has lowered it
(`attenuation`), and narrow it by that. Both are about: further recipes are taken to agree as these do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from thresher.intervals import Interval
from thresher.selection.statistics.attenuation import Sides, with_seeds
from thresher.selection.statistics.power import NEGLIGIBLE, low_with, recipes_needed, recipes_to_decide
from thresher.shown import duration

MANY_SEEDS = 32
"""More than these a recipe are not proposed: recipes that lie so near to each other need no telling apart."""
MANY_RECIPES = 256
"""Nor more than these together with more seeds."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a proxy was compared on."""

    num_recipes: int
    num_seeds: int = 1
    """Of each recipe, at the proxy; the fewest."""
    num_reference_seeds: int = 1
    signals: Mapping[str, Sides] = field(default_factory=dict)
    """Of the test sets that the mean is of, the signal at the proxy and the reference, as far as known."""
    weights: Mapping[str, float] | None = None
    """How much each of these sets counts in the mean; None: all alike."""
    pairs: tuple[int, int] | None = None
    """Of the sets that count together, pairs that the reference tells apart, and all; None where noise is not known."""

    @property
    def seeds(self) -> tuple[int, int]:
        """At the proxy and at the reference."""
        return self.num_seeds, self.num_reference_seeds


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a run of each size costs."""

    reference: str
    amounts: Mapping[str, float]
    """Of each size, the reference too, in any one unit."""
    in_flops: bool = False
    """Whether the unit is FLOPs."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Of each size, as measured."""

    def relative(self, size: str) -> float | None:
        """In runs of the reference; None where it is not known."""
        whole = self.amounts.get(self.reference)
        return self.amounts[size] / whole if whole and size in self.amounts else None


@dataclass(frozen=True, kw_only=True)
class Further:
    """Runs that would about decide, beside those that are there."""

    sizes: tuple[str, ...]
    """The proxies that they decide on."""
    holds: bool
    """Which way: that the proxy holds, or that none of `sizes` does."""
    num_recipes: int
    """In all, as are the seeds of each."""
    proxy_seeds: int
    reference_seeds: int
    more_recipes: bool
    more_seeds: bool
    proxy_runs: int
    """More than there are, at every one of `sizes`."""
    reference_runs: int
    cost: float | None = None
    """In runs of the reference; None where costs are not known."""
    flops: float | None = None
    seconds: float | None = None
    """One run after the other, on the machine that measured the others."""

    @property
    def order(self) -> float:
        """What they are put in order by: the cost, or where that is not known the number of runs."""
        return self.proxy_runs * len(self.sizes) + self.reference_runs if self.cost is None else self.cost

    def words(self, units: str) -> str:
        """What is to be run, and in brackets how many runs that is and what they cost."""
        where = ", ".join(self.sizes)
        of_each = f"{self.proxy_seeds} seeds of each at {where} and {self.reference_seeds} at the reference"
        what = f"{self.num_recipes:,} {units}" if self.more_recipes else of_each
        if self.more_recipes and self.more_seeds:
            what += f" with {of_each}"
        runs = [(self.proxy_runs, where), (self.reference_runs, "the reference")]
        counted = ", ".join(f"{count:,} at {size}" for count, size in runs if count)
        costs = [] if self.cost is None else [f"{_plainly(self.cost)} of the reference's runs"]
        costs += [] if self.flops is None else [f"{self.flops:.2g} FLOPs"]
        costs += [] if self.seconds is None else [f"{duration(self.seconds)} as measured"]
        return f"{what} (more runs: {counted}{'; ' if costs else ''}{', '.join(costs)})"


def _plainly(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def that_hold(
    size: str,
    measure: str,
    threshold: float,
    found: Interval,
    values: Mapping[str, float],
    evidence: Evidence,
    costs: Costs | None,
) -> list[Further]:
    """The runs after which the proxy would about hold: more recipes, more seeds, both; the cheapest of each, in order.

    `found` is the measure on the mean over test sets, `values` on each of them. Both are left out where one of the
    others is cheaper.
    """
    n, least = evidence.num_recipes, recipes_needed(measure, threshold)
    value_at = {seeds: _value(measure, values, evidence, seeds) for seeds in _seeds(evidence)}

    def holds(num_recipes: int, seeds: tuple[int, int]) -> bool:
        value = value_at[seeds]
        if num_recipes < least or value < threshold:
            return False
        return low_with(measure, found, n, num_recipes, value) >= threshold - NEGLIGIBLE

    def cheapest(options: Iterator[tuple[int, tuple[int, int]]]) -> list[Further]:
        plans = [_plan((size,), True, evidence, number, seeds, costs) for number, seeds in options]
        return sorted(plans, key=lambda plan: plan.order)[:1]

    alone = found.value >= threshold and recipes_to_decide(measure, found, n, threshold)
    chosen = cheapest(iter([(alone, evidence.seeds)])) if alone else []
    chosen += cheapest((n, seeds) for seeds in value_at if seeds != evidence.seeds and holds(n, seeds))
    bound = min((plan.order for plan in chosen), default=np.inf)
    both: list[Further] = []
    for number in _numbers(max(n + 1, least)):
        if _plan((size,), True, evidence, number, evidence.seeds, costs).order >= bound:
            break
        both += cheapest((number, seeds) for seeds in value_at if seeds != evidence.seeds and holds(number, seeds))
        bound = min([bound, *(plan.order for plan in both)])
    best = min(both, key=lambda plan: plan.order, default=None)
    if best is not None and best.order <= bound:
        chosen.append(best)
    return sorted(chosen, key=lambda plan: plan.order)


def that_fail(
    measure: str,
    threshold: float,
    found: Mapping[str, Interval],
    evidence: Mapping[str, Evidence],
    costs: Costs | None,
) -> Further | None:
    """The recipes after which every proxy of `found` (the open ones) would about fail; None where no number does."""
    below = all(one.value < threshold for one in found.values())
    needed = [
        recipes_to_decide(measure, one, evidence[size].num_recipes, threshold) if below else None
        for size, one in found.items()
    ]
    numbers = [number for number in needed if number is not None]
    if not found or len(numbers) < len(needed):
        return None
    before = next(iter(evidence[size] for size in found))
    return _plan(tuple(found), False, before, max(numbers), before.seeds, costs)


def _value(measure: str, values: Mapping[str, float], evidence: Evidence, seeds: tuple[int, int]) -> float:
    """The mean over test sets that so many seeds would give."""
    times = (seeds[0] / evidence.num_seeds, seeds[1] / evidence.num_reference_seeds)
    sides = {name: evidence.signals.get(name, (None, None)) for name in values}
    weights = None if evidence.weights is None else [evidence.weights[name] for name in values]
    then = [with_seeds(measure, value, sides[name], times) for name, value in values.items()]
    return float(np.average(then, weights=weights))


def _seeds(evidence: Evidence) -> list[tuple[int, int]]:
    """Numbers of seeds that may be proposed at both sizes; those there are, where noise is not known."""
    sides = []
    for side, now in enumerate(evidence.seeds):
        known = any(signals[side] is not None for signals in evidence.signals.values())
        steps = {now, now + 1, now + 2, *(now * times for times in (2, 3, 4, 6, 8, 12, 16, 24, 32))}
        sides.append(sorted(number for number in steps if number <= max(now, MANY_SEEDS)) if known else [now])
    return list(product(*sides))


def _numbers(start: int) -> Sequence[int]:
    """Numbers of recipes from `start` on, each about an eighth more."""
    numbers = [start]
    while numbers[-1] < MANY_RECIPES:
        numbers.append(max(numbers[-1] + 1, round(numbers[-1] * 1.125)))
    return numbers


def _plan(
    sizes: tuple[str, ...],
    holds: bool,
    evidence: Evidence,
    num_recipes: int,
    seeds: tuple[int, int],
    costs: Costs | None,
) -> Further:
    now, n = evidence.seeds, evidence.num_recipes
    small, large = (num_recipes * then - n * there for then, there in zip(seeds, now, strict=True))
    cost = flops = seconds = None
    relative = [costs.relative(size) if costs else None for size in sizes]
    if costs and None not in relative:
        cost = large + small * sum(one for one in relative if one is not None)
        flops = cost * costs.amounts[costs.reference] if costs.in_flops else None
    if costs and all(size in costs.seconds for size in (*sizes, costs.reference)):
        seconds = large * costs.seconds[costs.reference] + small * sum(costs.seconds[size] for size in sizes)
    return Further(
        sizes=sizes,
        holds=holds,
        num_recipes=num_recipes,
        proxy_seeds=seeds[0],
        reference_seeds=seeds[1],
        more_recipes=num_recipes > n,
        more_seeds=seeds != now,
        proxy_runs=small,
        reference_runs=large,
        cost=cost,
        flops=flops,
        seconds=seconds,
    )
