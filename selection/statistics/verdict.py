"""The smallest proxy whose decisions hold, by a stated criterion with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thresher.errors import InputError
from thresher.selection.statistics.decisions import MEAN, Estimate, Judged

MEASURES = ("decision_accuracy", "spearman", "r2")


@dataclass(frozen=True)
class Criterion:
    """When a proxy holds, and how its decisions are measured."""

    measure: str = "decision_accuracy"
    """One of MEASURES, whose interval has to reach `threshold`."""
    threshold: float = 0.9
    top: tuple[int, ...] = (1, 3)
    """k of top-k regret."""
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise InputError(f"criterion {self.measure!r} is unknown; pass one of: {', '.join(MEASURES)}")
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold {self.threshold} is outside (0, 1); pass a share, such as 0.9")


CRITERION = Criterion()


@dataclass(frozen=True)
class Rung:
    """One proxy size against the criterion."""

    size: str
    cost: float | None
    """Relative to the reference."""
    overall: Estimate
    holds: bool
    """The lower end of the interval, over the mean of all test sets, reaches the threshold."""
    fails_on: Sequence[str]
    """Test sets whose own lower end does not."""


@dataclass(frozen=True)
class Verdict:
    measure: str
    threshold: float
    rungs: Sequence[Rung]
    """From the smallest proxy to the largest."""

    @property
    def smallest(self) -> Rung | None:
        """The smallest proxy that holds."""
        return next((rung for rung in self.rungs if rung.holds), None)

    def sentence(self) -> str:
        """What a person reads."""
        what = f"{self.measure.replace('_', ' ')} of at least {self.threshold:g}"
        rung = self.smallest
        if rung is None:
            best = max(self.rungs, key=lambda one: one.overall.low)
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
    """From size -> `decisions.judge` of it, smallest first; `costs` relative to the reference."""
    measure, threshold = criterion.measure, criterion.threshold
    return Verdict(measure, threshold, [_rung(size, own, measure, threshold, costs) for size, own in judged.items()])


def _rung(size: str, judged: Judged, measure: str, threshold: float, costs: Mapping[str, float] | None) -> Rung:
    sets = {name: measures[measure] for name, measures in judged.items() if name != MEAN}
    overall = judged[MEAN][measure] if MEAN in judged else next(iter(sets.values()))
    fails = [name for name, estimate in sets.items() if estimate.low < threshold]
    return Rung(size, (costs or {}).get(size), overall, overall.low >= threshold, fails)


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
