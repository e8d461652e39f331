"""What a finished transfer study says: every proxy judged by the reference, and the smallest that can be trusted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr

from thresher.artifacts import Artifact
from thresher.choices import ComparedLoss
from thresher.errors import InputError
from thresher.selection.statistics.further import Costs, Evidence
from thresher.selection.statistics.loss_files import LossColumns, read_losses
from thresher.selection.statistics.power import draw_recipes, resampled_recipes
from thresher.selection.statistics.signal import Signal
from thresher.selection.statistics.verdict import CRITERION, Criterion, verdict
from thresher.studies.experiments.judged_size import judge_size
from thresher.studies.experiments.transfer import read_rows, reference_learned_little


def judge_study(
    study: Artifact, criterion: Criterion = CRITERION, *, units: str = "recipes", loss: ComparedLoss = "loss"
) -> dict[str, Any]:
    """The result of `study from-table` on the study's losses, costs measured, and how R^2 goes with what is learned.

    Raises InputError where the study has no such `loss`, or fewer steps than are to be averaged.
    """
    rows = read_rows(study)
    table = read_losses([study.file("losses.csv")], _columns(study, rows, loss))
    reference, proxies, flops = (study.facts[key] for key in ("reference", "proxies", "flops"))
    judged = {size: judge_size(table, size, reference, criterion) for size in proxies}
    costs = Costs(reference=reference, amounts=flops, in_flops=True, seconds=study.facts.get("run_seconds", {}))
    result = summary(judged, reference, costs=costs, criterion=criterion, units=units)
    last = _last_rows(rows, criterion.average)
    accuracy = against_accuracy(study, last, result["proxies"], criterion.num_resamples, criterion.seed)
    return result | {"accuracy": accuracy, "learned_little": reference_learned_little(study, last)}


def _last_rows(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Those of the last `count` steps of each size: what is judged; all of a study without steps."""
    if "step" not in rows[0]:
        return list(rows)
    steps: dict[str, set[float]] = {}
    for row in rows:
        steps.setdefault(row["size"], set()).add(float(row["step"]))
    last = {size: sorted(own)[-count:] for size, own in steps.items()}
    return [row for row in rows if float(row["step"]) in last[row["size"]]]


def _columns(study: Artifact, rows: Sequence[Mapping[str, Any]], loss: ComparedLoss) -> LossColumns:
    if without := [row["test_set"] for row in rows if row.get(loss, "") == ""]:
        raise InputError(
            f"{study.path} has no {loss} of {without[0]!r}: of images and classes there is none, and of text it is "
            "there once the study is run again (nothing is trained anew); or judge by loss"
        )
    return LossColumns(seed="seed", step="step" if "step" in rows[0] else None, loss=loss)


def against_accuracy(
    study: Artifact, rows: Sequence[Mapping[str, Any]], proxies: Mapping[str, Any], num_resamples: int, seed: int
) -> dict[str, Any]:
    """Does R^2 go with what a proxy has learned? Its accuracy less that of guessing, for each size and test set.

    `rows` are those of `losses.csv` at the steps that are judged.
    `points`: size, test_set, r2, accuracy (mean over recipes), chance; `spearman` and `pearson` over the points, each
    [value, low, high] with 95 % intervals from resamples of the test sets and an unseen one (`power`). Both
    absent for fewer than 3 test sets, and where a side is constant.
    """
    chance, points = study.facts["chance"], []
    for size, proxy in proxies.items():
        for name in study.facts["test_sets"]:
            right = [row["correct"] for row in rows if (row["size"], row["test_set"]) == (size, name)]
            point = {"size": size, "test_set": name, "r2": proxy["judged"][name]["r2"]["value"]}
            points.append(point | {"accuracy": float(np.mean(right)), "chance": chance[name]})
    found: dict[str, Any] = {"points": points}
    names = study.facts["test_sets"]
    if len(names) > 2:
        table = np.array([[p["accuracy"] - p["chance"], p["r2"]] for p in points]).reshape(len(proxies), -1, 2)
        drawn = draw_recipes(len(names), num_resamples, seed)
        resamples = [np.repeat(np.arange(len(names)), weights.astype(np.int64)) for weights in drawn.weights]
        for measure, function in (("pearson", pearsonr), ("spearman", spearmanr)):
            values = np.array([_correlated(table[:, row].reshape(-1, 2), function) for row in resamples])
            if np.isfinite(values[0]):
                both = np.stack([drawn.shrink(values), values])
                found[measure] = list(astuple(resampled_recipes(both[:, np.isfinite(values)])))
    return found


def _correlated(points: Float[np.ndarray, "n 2"], function: Callable[..., Any]) -> float:
    constant = len(points) < 2 or bool((points == points[0]).all(axis=0).any())
    return float("nan") if constant else float(function(points[:, 0], points[:, 1]).statistic)


def summary(
    judged: Mapping[str, Mapping[str, Any]],
    reference: str,
    *,
    costs: Costs | None,
    criterion: Criterion,
    units: str = "recipes",
) -> dict[str, Any]:
    """The result of a study of proxies, as JSON, the cheapest first where costs are known.

    `units` is what a reader calls the recipes.
    """
    relative = {name: costs.relative(name) if costs else None for name in judged}
    if None not in relative.values():
        judged = {name: judged[name] for name in sorted(judged, key=lambda name: relative[name] or 0.0)}
    evidence = {name: _evidence(one, criterion.measure) for name, one in judged.items()}
    found = verdict({name: one["judged"] for name, one in judged.items()}, evidence, criterion, costs, units=units)
    proxies = {
        name: {**one, "judged": {test: {m: asdict(e) for m, e in own.items()} for test, own in one["judged"].items()}}
        for name, one in judged.items()
    }
    smallest = None if found.smallest is None else found.smallest.size
    return {
        "reference": reference,
        "num_resamples": criterion.num_resamples,
        "seed": criterion.seed,
        "proxies": proxies,
        "verdict": {
            **asdict(found),
            "rungs": [asdict(rung) | {"holds": rung.holds} for rung in found.rungs],
            "smallest": smallest,
            "can_tell": found.can_tell,
            "sentence": found.sentence(),
        },
    }


def _evidence(one: Mapping[str, Any], measure: str) -> Evidence:
    counted = {test: own for test, own in one["signals"].items() if own["is_counted"]}
    telling = {test: own for test, own in counted.items() if measure in one["judged"][test]}
    apart = [own["pairs_apart"] for own in counted.values()]
    num_pairs = one["num_recipes"] * (one["num_recipes"] - 1) // 2
    return Evidence(
        num_recipes=one["num_recipes"],
        num_seeds=one["num_seeds"],
        num_reference_seeds=one["num_reference_seeds"],
        signals={test: (_signal(own["proxy"]), _signal(own["reference"])) for test, own in telling.items()},
        weights={test: own["weight"] for test, own in telling.items()},
        pairs=None if None in apart else (sum(apart), num_pairs * len(apart)),
    )


def _signal(described: Mapping[str, Any] | None) -> Signal | None:
    return None if described is None else Signal(**{field.name: described[field.name] for field in fields(Signal)})


def trusted(transfer: Artifact, average: int = 1) -> dict[str, Any]:
    """What the arms at both sizes say of the proxy, as `thresher study verdict` does."""
    return judge_study(transfer, Criterion(top=(1,), average=average), units="arms")
