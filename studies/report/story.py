"""What a reader asks first, answered from a report's numbers: three figures, is it safe, how it was done, its words."""

from collections.abc import Sequence
from dataclasses import dataclass

from thresher.intervals import MeanInterval
from thresher.selection.statistics.comparison import POOLED
from thresher.studies.report.content import Leak, Report
from thresher.studies.report.numbers import duration, signed
from thresher.studies.report.results import best_control, comparisons, overall, selecting_cost

FEW_SEEDS = 3
"""With fewer paired seeds a t interval rests on one degree of freedom."""


@dataclass(frozen=True)
class Figure:
    """One of the three numbers on top of the page."""

    name: str
    value: str
    about: str
    """What it is a number of, with its interval and n."""


@dataclass(frozen=True)
class Point:
    """One thing that a careful reader asks."""

    name: str
    text: str
    weak: bool = False
    """Whether it should make the reader careful."""


GLOSSARY = {
    "pool": "all examples that could be trained on",
    "target": "what the model should get better at: some examples to select for, others held out to measure on",
    "held out": "used for measuring alone: nothing was trained on it or selected for it",
    "proxy": "a small model that examples are judged by",
    "reference": "the larger model that the benefit is measured on",
    "arm": "one way to choose the training data; every arm is trained on the same amount",
    "random": "the arm to beat: as much data, drawn by chance",
    "seed": "what a training draws its chance from; arms with one seed share theirs, so that differences are paired",
    "loss": "how badly a model predicts, in nats (a token, or an image); lower is better",
    "score": "how much training on an example is estimated to lower the target's loss; higher is more helpful",
    "[a, b]": "a 95 % interval: values that the measurements leave open",
    "off target": "tasks that the selection was not made for",
}


def figures(report: Report) -> list[Figure]:
    """Gain, cost, and price elsewhere; none without results. What was not measured says so."""
    results = report.results
    if results is None or results.chosen not in (whole := overall(results.runs, results)):
        return []
    elsewhere = overall(results.off_target, results).get(results.chosen)
    gain, cost = whole[results.chosen].difference, selecting_cost(report)
    time = f"{duration(sum(stage.seconds for stage in report.stages if stage.selects))} on this machine"
    return [
        Figure("Gain", signed(gain.mean), _of(gain, f"loss on the targets against {results.baseline} data")),
        Figure("Cost", "–", f"{time}; its compute was not counted")
        if cost is None
        else Figure("Cost", f"{cost:.2g} ×", f"selecting, in trainings of one reference; {time}"),
        Figure("Price elsewhere", "–", "not measured: no task off target")
        if elsewhere is None
        else Figure("Price elsewhere", signed(elsewhere.difference.mean), _of(elsewhere.difference, "loss off target")),
    ]


def _of(change: MeanInterval, what: str) -> str:
    told = "; cannot be told from 0" if change.includes_zero else ""
    return f"{what} [{signed(change.low)}, {signed(change.high)}], n = {change.n} seeds{told}"


def safety(report: Report) -> list[Point]:
    """Leakage and its weight, seeds, targets without a gain, controls, reference, proxy, and the run's own notes."""
    points = [] if report.leaks is None else [_leakage(report.leaks, report)]
    results = report.results
    whole = overall(results.runs, results) if results else {}
    if results is not None and results.chosen in whole:
        n = whole[results.chosen].difference.n
        few = " Few: one more seed may change the interval much." if n < FEW_SEEDS else ""
        points.append(Point("Seeds", f"Differences are of n = {n} paired seeds.{few}", n < FEW_SEEDS))
        rows = [row for row in comparisons(results.runs, results) if row.arm == results.chosen and row.task != POOLED]
        worse = [row.task for row in rows if row.difference.low > 0]
        untold = [row.task for row in rows if row.difference.includes_zero]
        told = f"{len(rows) - len(worse) - len(untold)} of {len(rows)} targets gain with their own interval"
        told += f"; no difference can be told on {', '.join(untold)}" if untold else ""
        told += f"; worse on {', '.join(worse)}" if worse else ""
        points.append(Point("Targets", f"{told}.", bool(worse or untold)))
        points += [Point("Simpler ways", sentence, not better) for sentence, better in best_control(results)]
    if report.little_learned:
        points.append(Point("Reference", f"{report.little_learned[0].upper()}{report.little_learned[1:]}.", weak=True))
    if report.trust:
        points.append(Point("Proxy", report.trust.sentence, not report.trust.can_tell))
    return points + [Point("Note", note) for note in report.notes]


def _leakage(leaks: Sequence[Leak], report: Report) -> Point:
    """A fact, with what it changes for the gain."""
    hit = [leak for leak in leaks if leak.num_documents_hit]
    if not hit:
        words = f" ({leaks[0].num_words} words in a row)" if leaks else ""
        return Point(
            "Leakage", f"No target example shares a passage with the pool{words}: the gain is on clean examples."
        )
    counts = "; ".join(
        f"{leak.num_examples_hit:,} of {leak.num_examples:,} examples of {leak.target} share {leak.num_words} words in "
        f"a row with {leak.num_documents_hit:,} documents of the pool's source"
        for leak in hit
    )
    if all(leak.left_out for leak in hit):
        return Point("Leakage", f"{counts}. These documents were left out, so the gain is on clean examples.")
    advice = "with decontaminate = true under [pool] they are left out"
    if report.clean is None:
        told = f"so a part of the gain may be texts seen before; {advice}, and the gain is on clean examples."
    else:
        known = "" if report.clean_is_whole else " (those that are known to leak left out; not all are)"
        told = f"and on the held-out examples without them{known} {_of(report.clean, _signed(report.clean))}; {advice}."
    return Point("Leakage", f"{counts}. They are in the pool, {told}", weak=True)


def _signed(change: MeanInterval) -> str:
    return f"loss changes by {signed(change.mean)}"


def how(report: Report) -> str:
    """How it was done, in about 100 words; empty without a selection."""
    choice, results = report.choice, report.results
    if choice is None:
        return ""
    proxy = next((model for model in report.models if model.name == "proxy"), None)
    proxies = "Small models (proxies)" if proxy is None else f"{proxy.count} small models (proxies)"
    if proxy is not None and proxy.count == 1:
        proxies = "A small model (the proxy)"
    by_models = (
        f"{proxies} learnt from random parts of the pool. From them every example of the pool got a score: how much "
        f"training on it is estimated to lower the loss on examples of the target. The method "
        f"{choice.method} then kept"
    )
    alone = f"The method {choice.method}, which looks at no model, kept"
    text = f"{by_models if choice.by_models else alone} {choice.num_kept:,} of {choice.num_pool:,} examples."
    if results is None or not results.runs:
        return text
    seeds = len({run.seed for run in results.runs})
    return text + (
        f" To see whether that helps, a larger model (the reference) was trained on the kept examples, on as much "
        f"{results.baseline} data, and on what simpler methods keep, each from the same {seeds} seeds. All were "
        "measured on target examples that were held out: used neither for training nor for scores. Differences are "
        "taken seed by seed, and their interval says what chance leaves open."
    )
