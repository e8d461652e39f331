"""From the runs of a validation to what they say: means, paired differences, places, compute multipliers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from thresher.intervals import interval
from thresher.selection.statistics.comparison import POOLED, Measurement, compare_arms, standings
from thresher.selection.statistics.multiplier import compute_multiplier
from thresher.studies.study import BASELINE

Rows = Sequence[Mapping[str, Any]]
Table = dict[str, dict[str, dict[int, float]]]
"""task -> arm -> seed -> value."""


def compare(rows: Rows, arms: Sequence[str], costs: Mapping[str, float]) -> dict[str, Any]:
    """Facts of `rows` (arm, seed, task, off_target, loss, accuracy, bits_per_byte, flops); `arms` are to be compared.

    `arms`: arm -> task -> mean loss with its 95 % interval, budgets of random data too; `accuracy`: the same, of tasks
    with choices; `bits_per_byte`: the same, of text; `paired`: each arm's loss minus that of random data, seed by seed;
    `paired_accuracy`; `standings`: task -> arms from best to worst with their places, ties shared; `multipliers` where
    random data had 3 budgets.
    """
    targets = [row for row in rows if not row["off_target"]]
    losses, accuracies = _table(rows, "loss"), _table(rows, "accuracy")
    of_targets = _with_pooled(_table(targets, "loss"))
    return {
        "arms": _intervals(losses),
        "accuracy": _intervals(accuracies),
        "bits_per_byte": _intervals(_table(rows, "bits_per_byte")),
        "paired": _paired(rows, arms, "loss"),
        "paired_accuracy": _paired(rows, arms, "accuracy"),
        "standings": {
            task: [asdict(place) for place in standings({arm: by_arm[arm] for arm in arms if arm in by_arm})]
            for task, by_arm in of_targets.items()
        },
        "multipliers": _multipliers(of_targets, _compute(rows), arms, costs),
    }


def _table(rows: Rows, value: str) -> Table:
    found: Table = {}
    for row in rows:
        if row.get(value) is not None:
            found.setdefault(row["task"], {}).setdefault(row["arm"], {})[row["seed"]] = row[value]
    return found


def _with_pooled(table: Table) -> Table:
    """With several tasks, their mean too."""
    if len(table) < 2:
        return table
    tasks, first = list(table.values()), next(iter(table.values()))
    means = {
        arm: {seed: float(np.mean([task[arm][seed] for task in tasks])) for seed in by_seed}
        for arm, by_seed in first.items()
    }
    return table | {POOLED: means}


def _intervals(table: Table) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for task, by_arm in table.items():
        for arm, by_seed in by_arm.items():
            found.setdefault(arm, {})[task] = asdict(interval(np.array(list(by_seed.values()))))
    return found


def _paired(rows: Rows, arms: Sequence[str], value: str) -> list[dict[str, Any]]:
    found = []
    for off_target in (False, True):
        group = [
            Measurement(row["arm"], row["seed"], row["task"], row[value])
            for row in rows
            if row["off_target"] == off_target and row["arm"] in arms and row.get(value) is not None
        ]
        for line in compare_arms(group, baseline=BASELINE) if group else []:
            about = {"arm": line.arm, "baseline": BASELINE, "task": line.task, "off_target": off_target}
            found.append({**about, **asdict(line.difference), "seeds": list(line.seeds)})
    return found


def _compute(rows: Rows) -> dict[str, float]:
    """Arm -> FLOPs of one run, the mean over seeds."""
    flops: dict[str, dict[int, float]] = {}
    for row in rows:
        flops.setdefault(row["arm"], {})[row["seed"]] = row["flops"]
    return {arm: float(np.mean(list(by_seed.values()))) for arm, by_seed in flops.items()}


def _multipliers(
    table: Table, compute: Mapping[str, float], arms: Sequence[str], costs: Mapping[str, float]
) -> list[dict[str, Any]]:
    random = [BASELINE, *(arm for arm in compute if arm not in arms)]
    if len(random) < 3:
        return []
    found = []
    for task, by_arm in table.items():
        seeds = sorted(by_arm[BASELINE])
        curve = {compute[arm]: [by_arm[arm][seed] for seed in seeds] for arm in random}
        for arm in (arm for arm in arms if arm != BASELINE):
            losses = [by_arm[arm][seed] for seed in seeds]
            multiplier = compute_multiplier(curve, compute[arm], losses, cost=costs.get(arm))
            found.append({"arm": arm, "task": task, **({} if multiplier is None else asdict(multiplier))})
    return found
