"""The smallest proxy whose decisions hold, by a stated criterion with its interval; no verdict where it cannot tell.

A proxy *holds* where the whole interval is at the threshold or above, *fails* where the whole interval is below, and is
*open* between. Where none holds, what is said is which further runs would decide, and what they cost (`further`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from thresher.choices import MEASURES, DecidingSets
from thresher.errors import InputError, unknown
from thresher.intervals import Interval
from thresher.selection.statistics.attenuation import best_with_seeds
from thresher.selection.statistics.decisions import MEAN, Judged
from thresher.selection.statistics.further import MANY_SEEDS, Costs, Evidence, Further, that_fail, that_hold
from thresher.selection.statistics.power import best_low, by_chance, recipes_needed
from thresher.shown import with_interval

LEAST_RESAMPLES = 100
"""With fewer an end of an interval is the luck of two or three resamples."""
SHOWN = 3
"""Ways to decide that the sentence names."""


@dataclass(frozen=True)
class Criterion:
    """When a proxy holds, and how its decisions are measured. Raises InputError for an unknown measure or threshold."""

    measure: str = "decision_accuracy"
    """One of MEASURES, whose interval has to reach `threshold`."""
    threshold: float = 0.9
    top: tuple[int, ...] = (1, 3)
    """k of top-k regret."""
    num_resamples: int = 1000
    seed: int = 0
    average: int = 1
    """The last so many checkpoints are averaged, on both sides."""
    sets: DecidingSets = "all"
    """What the mean is of: all test sets, those that noise leaves able to decide (`signal.ceiling`), or all weighted by
    signal to noise at the reference (`signal.weights_of`)."""

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise unknown("criterion", self.measure, MEASURES)
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold {self.threshold} is outside (0, 1); pass a share, such as 0.9")
        if any(k < 1 for k in self.top):
            raise InputError(f"top {' '.join(map(str, self.top))}: the best of k recipes are taken; pass 1 or more")
        if self.num_resamples < LEAST_RESAMPLES:
            raise InputError(
                f"{self.num_resamples} resamples leave no 95 % interval, and a verdict is by its ends; pass "
                f"{LEAST_RESAMPLES} or more, 1000 by default"
            )
        if self.average < 1:
            raise InputError(f"average={self.average}; pass 1 or more checkpoints")


CRITERION = Criterion()


Decided = Literal["holds", "fails", "open"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One proxy size against the criterion."""

    size: str
    cost: float | None
    """What a run of it costs, relative to the reference; None if that is unknown."""
    overall: Interval
    """The measure on the mean of all test sets."""
    num_recipes: int
    decided: Decided
    """By the interval on the mean of all test sets."""
    can_tell: bool
    """Whether so many recipes could reach the threshold at all, were they to agree fully."""
    ceiling: float | None
    """The measure that noise leaves to a proxy without any fault of its own, with the seeds there are; None where
    noise is not known."""
    highest_ceiling: float | None
    """The same with MANY_SEEDS of each recipe at both sizes."""
    regret: Interval | None
    """What taking the proxy's best recipe costs at the reference, in loss; None where it was not measured."""
    pairs: tuple[int, int] | None
    """How many pairs of recipes the reference tells apart, and of how many; None where its noise is not known."""
    fails_on: Sequence[str]
    """Of the test sets that the mean is of, those whose own lower end does not reach the threshold."""

    @property
    def holds(self) -> bool:
        """Whether the lower end of the interval, on the mean of all test sets, reaches the threshold."""
        return self.decided == "holds"


@dataclass(frozen=True)
class Verdict:
    """Every proxy against the criterion."""

    measure: str
    """One of MEASURES."""
    threshold: float
    """What the lower end of its interval has to reach."""
    rungs: Sequence[Rung]
    """From the smallest proxy to the largest."""
    units: str = field(default="recipes", kw_only=True)
    """What was compared, as a reader calls it."""
    further: Sequence[Further] = field(default=(), kw_only=True)
    """Where no proxy holds: runs that would about decide, the cheapest first."""

    @property
    def smallest(self) -> Rung | None:
        """The smallest proxy that holds; None if none does."""
        return next((rung for rung in self.rungs if rung.holds), None)

    @property
    def can_tell(self) -> bool:
        """Whether there is a verdict: a proxy holds, or all fail."""
        return self.smallest is not None or all(rung.decided == "fails" for rung in self.rungs)

    def sentence(self) -> str:
        """The verdict in words, or why there is none and what would decide."""
        what = f"{self.measure.replace('_', ' ')} of at least {self.threshold:g}"
        rung = self.smallest
        if rung is not None:
            cost = "" if rung.cost is None else f", at {rung.cost:.2g} of the reference's cost"
            where = f" It is not shown on {', '.join(rung.fails_on)} alone." if rung.fails_on else ""
            return f"The smallest proxy with {what} is {rung.size}: {self._found(rung)}{cost}.{_regret(rung)}{where}"
        best = max(self.rungs, key=lambda rung: (rung.decided == "open", rung.overall.low, rung.overall.value))
        if best.decided == "fails":
            why = f"No proxy can be trusted with {what}: the best is {best.size} with {self._found(best)}."
            return f"{why}{_regret(best)} {self._what_rescues(best)}"
        return f"{self._why_open(best, what)}{_regret(best)} {self._what_decides(best)}"

    def _found(self, rung: Rung) -> str:
        """The value, and, where only pairs that are told apart count, how many those are."""
        if self.measure != "clear_accuracy" or rung.pairs is None:
            return _words(rung.overall)
        apart, whole = rung.pairs
        return f"{_words(rung.overall)} on the {apart:,} of {whole:,} pairs that the reference tells apart"

    def _why_open(self, best: Rung, what: str) -> str:
        if best.can_tell:
            return f"No verdict on {what}: the best is {best.size} with {self._found(best)}, which leaves it open."
        n, low = best.num_recipes, best_low(self.measure, best.num_recipes)
        chance = by_chance(n)
        luck = f" and happens by chance in 1 of {round(1 / chance):,}" if chance >= 1e-4 else ""
        return (
            f"Too few {self.units} to tell: with {n} even full agreement shows no more than {low:.3f}{luck}; "
            f"{best.size} has {self._found(best)}, and {self.threshold:g} was asked."
        )

    def _what_decides(self, best: Rung) -> str:
        if not self.further:
            return f"No further {self.units} or seeds would decide at this value.{self._what_seeds_cannot(best)}"
        if not self.further[0].holds:
            plan = self.further[0]
            return f"About {plan.words(self.units)} would decide, against every proxy.{self._what_seeds_cannot(best)}"
        if len(self.further) == 1:
            decides = f"About {self.further[0].words(self.units)} would decide, if they agree as these do."
        else:
            listed = "; ".join(plan.words(self.units) for plan in islice(self.further, SHOWN))
            decides = f"What would about decide, if they agree as these do, the cheapest first: {listed}."
        return decides + self._what_seeds_cannot(best)

    def _what_rescues(self, best: Rung) -> str:
        if self.further:
            return f"Noise may hide that one holds. {self._what_decides(best)}"
        return f"Larger proxies are needed.{self._what_seeds_cannot(best)}"

    def _what_seeds_cannot(self, best: Rung) -> str:
        if best.highest_ceiling is None or max(best.highest_ceiling, best.overall.value) >= self.threshold:
            return ""
        return (
            f" No number of seeds would: with {MANY_SEEDS} of each, noise keeps even a faultless proxy at "
            f"{best.highest_ceiling:.3f}."
        )


def verdict(
    judged: Mapping[str, Judged],
    evidence: Mapping[str, Evidence],
    criterion: Criterion = CRITERION,
    costs: Costs | None = None,
    *,
    units: str = "recipes",
) -> Verdict:
    """Judge every proxy by the criterion.

    `judged` maps sizes, the smallest first, to what `decisions.judge` says of them, `evidence` to what that rests on.
    """
    rungs = [
        _rung(size, measures, evidence[size], criterion, costs.relative(size) if costs else None)
        for size, measures in judged.items()
    ]
    further = () if any(rung.holds for rung in rungs) else _further(rungs, judged, evidence, criterion, costs)
    return Verdict(criterion.measure, criterion.threshold, rungs, units=units, further=further)


def _further(
    rungs: Sequence[Rung],
    judged: Mapping[str, Judged],
    evidence: Mapping[str, Evidence],
    criterion: Criterion,
    costs: Costs | None,
) -> tuple[Further, ...]:
    """Runs after which one proxy would hold; where none would, those after which all that are open fail."""
    measure, threshold = criterion.measure, criterion.threshold
    found: list[Further] = []
    for rung in rungs:
        own = _by_set(judged[rung.size], measure, evidence[rung.size])
        values = {name: interval.value for name, interval in own.items()}
        found += that_hold(rung.size, measure, threshold, rung.overall, values, evidence[rung.size], costs)
    if found:
        return tuple(sorted(found, key=lambda plan: plan.order))
    still_open = {rung.size: rung.overall for rung in rungs if rung.decided == "open"}
    against = that_fail(measure, threshold, still_open, evidence, costs)
    return () if against is None else (against,)


def _rung(size: str, judged: Judged, evidence: Evidence, criterion: Criterion, cost: float | None) -> Rung:
    measure, threshold, n = criterion.measure, criterion.threshold, evidence.num_recipes
    sets = _by_set(judged, measure, evidence)
    whole = judged[MEAN] if MEAN in judged else next(iter(judged.values()))
    overall = whole[measure]
    # So few that full agreement would not do are no evidence, whatever single resamples say.
    can_tell = n >= recipes_needed(measure, threshold)
    decided: Decided = "open"
    if overall.high < threshold:
        decided = "fails"
    elif can_tell and overall.low >= threshold:
        decided = "holds"
    sides = [side for both in evidence.signals.values() for side in both]
    is_known = bool(sides) and None not in sides
    more = (max(1.0, MANY_SEEDS / evidence.num_seeds), max(1.0, MANY_SEEDS / evidence.num_reference_seeds))
    ceilings = [
        best_with_seeds(measure, evidence.signals, times, evidence.weights) if is_known else None
        for times in ((1.0, 1.0), more)
    ]
    return Rung(
        size=size,
        cost=cost,
        overall=overall,
        num_recipes=n,
        decided=decided,
        can_tell=can_tell,
        ceiling=ceilings[0],
        highest_ceiling=ceilings[1],
        regret=whole.get("regret@1"),
        pairs=evidence.pairs,
        fails_on=[name for name, estimate in sets.items() if estimate.low < threshold],
    )


def _by_set(judged: Judged, measure: str, evidence: Evidence) -> dict[str, Interval]:
    """The measure on each test set that the mean is of; a set that says nothing has none."""
    counted = evidence.signals.keys() or judged.keys() - {MEAN}
    return {name: measures[measure] for name, measures in judged.items() if name in counted and measure in measures}


def _regret(rung: Rung) -> str:
    return "" if rung.regret is None else f" Taking its best costs {_words(rung.regret)} in loss."


def _words(interval: Interval) -> str:
    return with_interval(interval.value, interval.low, interval.high)
