"""What a finished transfer study says: every proxy judged by the reference, and the smallest that can be trusted."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from thresher.artifacts import Artifact
from thresher.cli.study_from_table import judge_size, lines, summary
from thresher.selection.loss_table import LossColumns, read_losses


def judged(study: Artifact, settings: Any) -> dict[str, Any]:
    """The result of `study from-table` on the study's losses, costs measured, and how R^2 goes with what is learned.

    `settings` has top, resamples, seed, criterion, threshold (and at_step where a table has steps).
    """
    table = read_losses([study.file("losses.csv")], LossColumns(seed="seed"))
    reference, proxies, flops = (study.facts[key] for key in ("reference", "proxies", "flops"))
    found = {size: judge_size(table, size, reference, settings) for size in proxies}
    costs = {size: flops[size] / flops[reference] for size in proxies}
    return summary(found, reference, costs=costs, settings=settings)


def show(result: Mapping[str, Any]) -> list[str]:
    shown = lines(result)
    for size, by_set in result["per_sample"].items():
        medians = ", ".join(f"{name} {own['median']:.2f}" for name, own in by_set.items())
        shown.append(f"median R^2 of single examples at {size}: {medians}")
    total = np.sum([result["flops"][size] for size in result["proxies"]]) / result["flops"][result["reference"]]
    shown.append(f"a run of every proxy size together costs {total:.2g} of one of the reference's")
    return [*shown, result["verdict"]["sentence"]]
