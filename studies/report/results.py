"""From runs to the rows of the results table, and from those to the verdict in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from thresher.intervals import MeanInterval, interval
from thresher.selection.statistics.comparison import POOLED, Comparison, Measurement, compare_arms, losses_of
from thresher.studies.report.content import Choice, Report, Results
from thresher.studies.report.numbers import fixed, signed


@dataclass(frozen=True)
class Row:
    """One arm on one task."""

    task: str
    arm: str
    role: str
    """ "chosen", "baseline" or "control"."""
    mean: float
    spread: MeanInterval | None
    """Absent with fewer than two finite runs."""
    seeds: tuple[int, ...]
    """Of the finite runs."""
    num_diverged: int
    difference: MeanInterval | None
    """Paired, to the baseline."""


def rows_of(runs: Sequence[Measurement], results: Results) -> list[Row]:
    """Every arm on every task, and on their mean: the baseline first, then the chosen arm, then the controls.

    Runs whose loss is not finite are counted and left out of the means.
    """
    compared = {(row.arm, row.task): row for row in comparisons(runs, results)}
    losses = losses_of([*runs, *_pooled(runs)])
    rank = {results.baseline: 0, results.chosen: 1}
    tasks = list(dict.fromkeys(task for _, task in losses))
    arms = sorted(dict.fromkeys(arm for arm, _ in losses), key=lambda arm: rank.get(arm, 2))
    places = [(arm, task) for task in tasks for arm in arms if (arm, task) in losses]
    return [_row(results, arm, task, losses[arm, task], compared.get((arm, task))) for arm, task in places]


def comparisons(runs: Sequence[Measurement], results: Results) -> list[Comparison]:
    """`compare_arms` for the arms that share two finite seeds with the baseline on all tasks; others are left out."""
    finite = [run for run in runs if np.isfinite(run.loss)]
    losses = losses_of(finite)
    found = []
    for arm in dict.fromkeys(run.arm for run in runs if run.arm != results.baseline):
        tasks = {run.task for run in runs if run.arm in (arm, results.baseline)}
        seeds = [set(losses.get((which, task), {})) for which in (arm, results.baseline) for task in tasks]
        if seeds and len(set.intersection(*seeds)) >= 2:
            pair = [run for run in finite if run.arm in (arm, results.baseline)]
            found += compare_arms(pair, baseline=results.baseline)
    return found


def overall(runs: Sequence[Measurement], results: Results) -> dict[str, Comparison]:
    """Arm -> its comparison over all tasks together (over the one task, if there is one)."""
    # The pooled row of an arm, where there is one, comes last and so stays.
    return {row.arm: row for row in comparisons(runs, results)}


def verdict(report: Report) -> list[str]:
    """The sentences that open the page, each computed from the report's numbers: the gain, and what it is in data."""
    results = report.results
    if results is None or not results.runs:
        return _without_results(report)
    data = _share_of(report.choice) if report.choice else "data"
    whole = overall(results.runs, results)
    if results.chosen not in whole:
        return [
            f"Too few finite runs of {results.chosen} and {results.baseline} with the same seed for an interval: "
            "nothing is claimed. Train with at least 2 seeds."
        ]
    return [_main_sentence(whole[results.chosen], data, results), *_in_data(whole[results.chosen], results)]


def _in_data(row: Comparison, results: Results) -> list[str]:
    """The gain as so many times the data; where random data was not trained at several budgets, how to get it."""
    if row.difference.includes_zero or row.difference.mean > 0:
        return []
    if not results.worth:
        return [
            "How many times the data that is worth was not measured: set random_budgets = [0.5, 2, 4] under [validate] "
            "and run again."
        ]
    worth = next((worth for worth in results.worth if worth.task == row.task), results.worth[-1])
    if worth.alone is None:
        return ["More random data did not lower the loss, so the gain has no equal in data."]
    cost = "" if worth.with_cost is None else f"; counting the cost of selecting, {_times(worth.with_cost)}"
    beyond = " This lies beyond the amounts that were tried, and is a cautious figure." if worth.beyond else ""
    return [f"That is like {_times(worth.alone)} times the {results.baseline} data{cost}.{beyond}"]


def _times(value: MeanInterval) -> str:
    return f"{fixed(value.mean, 2)} [{fixed(value.low, 2)}, {fixed(value.high, 2)}]"


def _share_of(choice: Choice) -> str:
    if choice.share is not None:
        return f"{100 * choice.share:.3g} % of the pool's tokens"
    return f"{100 * choice.num_kept / choice.num_pool:.3g} % of the pool"


def _main_sentence(row: Comparison, data: str, results: Results) -> str:
    change = row.difference
    target = "held-out target loss" if row.task != POOLED else "held-out target loss, averaged over the targets,"
    if change.includes_zero:
        return (
            f"No difference can be told: training on the selected {data} changes {target} by {_in_words(change)} "
            f"against {results.baseline} data; the interval includes 0."
        )
    verb, sign = ("lowers", -1) if change.mean < 0 else ("raises", 1)
    low, high = sorted((sign * change.low, sign * change.high))
    return (
        f"Training on the selected {data} {verb} {target} by {fixed(abs(change.mean))} [{fixed(low)}, {fixed(high)}] "
        f"against {results.baseline} data (n = {change.n} paired seeds)."
    )


def best_control(results: Results) -> list[tuple[str, bool]]:
    """How the chosen arm stands against the best of the other ways to choose, the baseline aside; whether it is better.

    Empty without controls.
    """
    against_chosen = overall(results.runs, replace(results, baseline=results.chosen))
    controls = [row for arm, row in against_chosen.items() if arm != results.baseline]
    if not controls:
        return []
    best = min(controls, key=lambda row: row.difference.mean)
    change = best.difference
    told = _told(change, better="it does better", worse="it does worse", same="no difference can be told")
    sentence = (
        f"The best control is {best.arm}: its loss minus that of {results.chosen} is {_in_words(change)}: {told}."
    )
    return [(sentence, not change.includes_zero and change.mean > 0)]


def _told(change: MeanInterval, *, better: str, worse: str, same: str) -> str:
    if change.includes_zero:
        return same
    return better if change.mean < 0 else worse


def _in_words(change: MeanInterval) -> str:
    return f"{signed(change.mean)} [{signed(change.low)}, {signed(change.high)}] (n = {change.n} paired seeds)"


def selecting_cost(report: Report) -> float | None:
    """FLOPs of selecting, in units of one reference run; None unless every part of it is known."""
    reference = next((model.flops for model in report.models if model.name == "reference"), None)
    parts = [stage.flops for stage in report.stages if stage.selects]
    known = [flops for flops in parts if flops is not None]
    if not reference or not known or len(known) < len(parts):
        return None
    return sum(known) / reference


def _without_results(report: Report) -> list[str]:
    if report.choice is None:
        return []
    choice = report.choice
    return [
        f"{choice.num_kept:,} of {choice.num_pool:,} examples were selected by {choice.method}. "
        "No reference model was trained on them yet, so nothing is claimed about their worth."
    ]


def _pooled(runs: Sequence[Measurement]) -> list[Measurement]:
    """The mean over all tasks of each arm and seed that has them all; nothing for a single task."""
    num_tasks = len({run.task for run in runs})
    by_model: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        by_model.setdefault((run.arm, run.seed), []).append(run.loss)
    return [
        Measurement(arm, seed, POOLED, float(np.mean(losses)))
        for (arm, seed), losses in by_model.items()
        if 1 < num_tasks == len(losses)
    ]


def _row(results: Results, arm: str, task: str, losses: dict[int, float], compared: Comparison | None) -> Row:
    finite = {seed: loss for seed, loss in sorted(losses.items()) if np.isfinite(loss)}
    values = np.array(list(finite.values()))
    role = {results.baseline: "baseline", results.chosen: "chosen"}.get(arm, "control")
    return Row(
        task=task,
        arm=arm,
        role=role,
        mean=float(values.mean()) if len(values) else float("nan"),
        spread=interval(values) if len(values) > 1 else None,
        seeds=tuple(finite),
        num_diverged=len(losses) - len(finite),
        difference=compared.difference if compared else None,
    )
