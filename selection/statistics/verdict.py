"""The smallest proxy whose decisions hold, by a stated criterion with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thresher.choices import MEASURES
from thresher.errors import InputError, unknown
from thresher.intervals import Interval
from thresher.selection.statistics.decisions import MEAN, Judged


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

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise unknown("criterion", self.measure, MEASURES)
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold {self.threshold} is outside (0, 1); pass a share, such as 0.9")


CRITERION = Criterion()


@dataclass(frozen=True)
class Rung:
    """One proxy size against the criterion."""

    size: str
    cost: float | None
    """What a run of it costs, relative to the reference; None if that is unknown."""
    overall: Interval
    """The measure on the mean of all test sets."""
    holds: bool
    """Whether the lower end of the interval, on the mean of all test sets, reaches the threshold."""
    fails_on: Sequence[str]
    """The test sets whose own lower end does not reach it."""


@dataclass(frozen=True)
class Verdict:
    """Every proxy against the criterion."""

    measure: str
    """One of MEASURES."""
    threshold: float
    """What the lower end of its interval has to reach."""
    rungs: Sequence[Rung]
    """From the smallest proxy to the largest."""

    @property
    def smallest(self) -> Rung | None:
        """The smallest proxy that holds; None if none does."""
        return next((rung for rung in self.rungs if rung.holds), None)

    def sentence(self) -> str:
        """The verdict in words."""
        what = f"{self.measure.replace('_', ' ')} of at least {self.threshold:g}"
        rung = self.smallest
        if rung is None:
            best = max(self.rungs, key=lambda rung: rung.overall.low)
            return (
                f"No proxy can be trusted with {what}: the best is {best.size} with {_words(best.overall)}. "
                "Train larger proxies, or more seeds."
            )
        cost = "" if rung.cost is None else f", at {rung.cost:.2g} of the reference's cost"
        where = f" It fails on {', '.join(rung.fails_on)}." if rung.fails_on else ""
        return f"The smallest proxy with {what} is {rung.size}: {_words(rung.overall)}{cost}.{where}"


def verdict(
    judged: Mapping[str, Judged],
    criterion: Criterion = CRITERION,
    costs: Mapping[str, float] | None = None,
) -> Verdict:
    """Judge every proxy by the criterion.

    `judged` maps sizes, the smallest first, to what `decisions.judge` says of them; `costs` are relative to the
    reference.
    """
    measure, threshold = criterion.measure, criterion.threshold
    return Verdict(
        measure, threshold, [_rung(size, measures, measure, threshold, costs) for size, measures in judged.items()]
    )


def _rung(size: str, judged: Judged, measure: str, threshold: float, costs: Mapping[str, float] | None) -> Rung:
    sets = {name: measures[measure] for name, measures in judged.items() if name != MEAN}
    overall = judged[MEAN][measure] if MEAN in judged else next(iter(sets.values()))
    fails = [name for name, estimate in sets.items() if estimate.low < threshold]
    return Rung(size, (costs or {}).get(size), overall, overall.low >= threshold, fails)


def _words(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
