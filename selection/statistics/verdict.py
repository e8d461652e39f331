"""The smallest proxy whose decisions hold, by a stated criterion with its interval; no verdict where it cannot tell.

A proxy *holds* where the whole interval is at the threshold or above, *fails* where the whole interval is below, and is
*open* between: then what is said is how many more recipes, or seeds, would tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from thresher.choices import MEASURES, DecidingSets
from thresher.errors import InputError, unknown
from thresher.intervals import Interval
from thresher.selection.statistics.decisions import MEAN, Judged
from thresher.selection.statistics.power import best_low, by_chance, recipes_needed, recipes_to_decide, seeds_needed

MANY_SEEDS = 32
"""More than these a recipe are not proposed: recipes that lie so near to each other need no telling apart."""


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
        if self.average < 1:
            raise InputError(f"average={self.average}; pass 1 or more checkpoints")


CRITERION = Criterion()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a proxy was compared on."""

    num_recipes: int
    num_seeds: int = 1
    """Of each recipe, at the proxy; the fewest."""
    spread: float | None = None
    """The median over test sets of `decisions.spread_of`: how far recipes lie apart in units of the noise of a seed."""


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
    recipes_needed: int | None
    """About how many recipes would decide; None where it is decided, or where no number of them would."""
    seeds_needed: int | None
    """Seeds a recipe that keep their noise from hiding the recipes' order; None where there are enough, or it is not
    known."""
    fails_on: Sequence[str]
    """The test sets whose own lower end does not reach the threshold."""

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
            return f"The smallest proxy with {what} is {rung.size}: {_words(rung.overall)}{cost}.{where}"
        best = max(self.rungs, key=lambda rung: (rung.decided == "open", rung.overall.low, rung.overall.value))
        if best.decided == "fails":
            return (
                f"No proxy can be trusted with {what}: the best is {best.size} with {_words(best.overall)}. "
                "Train larger proxies, or more seeds."
            )
        return f"{self._why_open(best, what)} {self._what_decides(best)}"

    def _why_open(self, best: Rung, what: str) -> str:
        if best.can_tell:
            return f"No verdict on {what}: the best is {best.size} with {_words(best.overall)}, which leaves it open."
        n, low = best.num_recipes, best_low(self.measure, best.num_recipes)
        chance = by_chance(n)
        luck = f" and happens by chance in 1 of {round(1 / chance):,}" if chance >= 1e-4 else ""
        return (
            f"Too few {self.units} to tell: with {n} even full agreement shows no more than {low:.3f}{luck}; "
            f"{best.size} has {_words(best.overall)}, and {self.threshold:g} was asked."
        )

    def _what_decides(self, best: Rung) -> str:
        seeds = (
            f"{best.seeds_needed} seeds of each"
            if best.seeds_needed is not None and best.seeds_needed <= MANY_SEEDS
            else None
        )
        if best.recipes_needed is None:
            return f"More {self.units} would not decide at this value{f'; {seeds} might' if seeds else ''}."
        also = f", and {seeds}," if seeds else ""
        return f"About {best.recipes_needed:,} {self.units}{also} would decide, if they agree as these do."


def verdict(
    judged: Mapping[str, Judged],
    evidence: Mapping[str, Evidence],
    criterion: Criterion = CRITERION,
    costs: Mapping[str, float] | None = None,
    *,
    units: str = "recipes",
) -> Verdict:
    """Judge every proxy by the criterion.

    `judged` maps sizes, the smallest first, to what `decisions.judge` says of them, `evidence` to what that rests on;
    `costs` are relative to the reference.
    """
    rungs = [
        _rung(size, measures, evidence[size], criterion, (costs or {}).get(size)) for size, measures in judged.items()
    ]
    return Verdict(criterion.measure, criterion.threshold, rungs, units=units)


def _rung(size: str, judged: Judged, evidence: Evidence, criterion: Criterion, cost: float | None) -> Rung:
    measure, threshold, n = criterion.measure, criterion.threshold, evidence.num_recipes
    sets = {name: measures[measure] for name, measures in judged.items() if name != MEAN}
    overall = judged[MEAN][measure] if MEAN in judged else next(iter(sets.values()))
    # So few that full agreement would not do are no evidence, whatever single resamples say.
    can_tell = n >= recipes_needed(measure, threshold)
    decided: Decided = "open"
    if overall.high < threshold:
        decided = "fails"
    elif can_tell and overall.low >= threshold:
        decided = "holds"
    is_open = decided == "open"
    return Rung(
        size=size,
        cost=cost,
        overall=overall,
        num_recipes=n,
        decided=decided,
        can_tell=can_tell,
        recipes_needed=recipes_to_decide(measure, overall, n, threshold) if is_open else None,
        seeds_needed=_more_seeds(evidence) if is_open else None,
        fails_on=[name for name, estimate in sets.items() if estimate.low < threshold],
    )


def _more_seeds(evidence: Evidence) -> int | None:
    if evidence.spread is None:
        return None
    number = seeds_needed(evidence.spread, evidence.num_seeds)
    return number if number is not None and number > evidence.num_seeds else None


def _words(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
