"""What a finished transfer study says: every proxy judged by the reference, and the smallest that can be trusted."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr

from thresher.artifacts import Artifact
from thresher.cli.study.from_table import judge_size, lines, summary
from thresher.seeds import numpy_rng
from thresher.selection.statistics.loss_table import LossColumns, read_losses
from thresher.studies.experiments.transfer import read_rows


def judged(study: Artifact, settings: Any) -> dict[str, Any]:
    """The result of `study from-table` on the study's losses, costs measured, and how R^2 goes with what is learned.

    `settings` has top, resamples, seed, criterion, threshold (and at_step where a table has steps).
    """
    table = read_losses([study.file("losses.csv")], LossColumns(seed="seed"))
    reference, proxies, flops = (study.facts[key] for key in ("reference", "proxies", "flops"))
    found = {size: judge_size(table, size, reference, settings) for size in proxies}
    costs = {size: flops[size] / flops[reference] for size in proxies}
    told = summary(found, reference, costs=costs, settings=settings)
    return told | {"accuracy": against_accuracy(study, told["proxies"], settings.resamples, settings.seed)}


def against_accuracy(study: Artifact, proxies: Mapping[str, Any], num_resamples: int, seed: int) -> dict[str, Any]:
    """Does R^2 go with what a proxy has learned? Its accuracy less that of guessing, for each size and test set.

    `points`: size, test_set, r2, accuracy (mean over recipes), chance; `spearman` and `pearson` over the points, each
    [value, low, high] with 95 % intervals from resampled test sets. None for fewer than 3 test sets.
    """
    losses, chance = read_rows(study), study.facts["chance"]
    points = []
    for size, proxy in proxies.items():
        for name in study.facts["test_sets"]:
            right = [row["correct"] for row in losses if (row["size"], row["test_set"]) == (size, name)]
            point = {"size": size, "test_set": name, "r2": proxy["judged"][name]["r2"]["value"]}
            points.append(point | {"accuracy": float(np.mean(right)), "chance": chance[name]})
    found: dict[str, Any] = {"points": points}
    names = study.facts["test_sets"]
    if len(names) > 2:
        table = np.array([[p["accuracy"] - p["chance"], p["r2"]] for p in points]).reshape(len(proxies), -1, 2)
        rng = numpy_rng(seed, "accuracy")
        draws = [np.arange(len(names)), *rng.integers(len(names), size=(num_resamples, len(names)))]
        for measure, function in (("pearson", pearsonr), ("spearman", spearmanr)):
            values = [_correlated(table[:, drawn].reshape(-1, 2), function) for drawn in draws]
            low, high = np.nanpercentile(values[1:], [2.5, 97.5])
            found[measure] = [values[0], float(low), float(high)]
    return found


def _correlated(points: Float[np.ndarray, "n 2"], function: Callable[..., Any]) -> float:
    constant = bool((points == points[0]).all(axis=0).any())
    return float("nan") if constant else float(function(points[:, 0], points[:, 1]).statistic)


def show(result: Mapping[str, Any]) -> list[str]:
    shown = lines(result)
    for size, by_set in result["per_sample"].items():
        medians = ", ".join(f"{name} {own['median']:.2f}" for name, own in by_set.items())
        shown.append(f"median R^2 of single examples at {size}: {medians}")
    total = np.sum([result["flops"][size] for size in result["proxies"]]) / result["flops"][result["reference"]]
    shown.append(f"a run of every proxy size together costs {total:.2g} of one of the reference's")
    if "spearman" in result["accuracy"]:
        value, low, high = result["accuracy"]["spearman"]
        shown.append(
            f"R^2 against accuracy less chance, over {len(result['accuracy']['points'])} sizes and test sets: Spearman "
            f"{value:.3f} [{low:.3f}, {high:.3f}]"
        )
    return [*shown, result["verdict"]["sentence"]]
