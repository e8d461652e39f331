"""What a finished transfer study says: every proxy judged by the reference, and the smallest that can be trusted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr

from thresher.artifacts import Artifact
from thresher.choices import ComparedLoss
from thresher.errors import InputError
from thresher.selection.statistics.decisions import MEAN, judge, spread_over_noise
from thresher.selection.statistics.further import Costs, Evidence
from thresher.selection.statistics.loss_files import LossColumns, read_losses
from thresher.selection.statistics.loss_table import Losses, LossTable, common, means
from thresher.selection.statistics.power import draw_recipes, resampled_recipes
from thresher.selection.statistics.signal import Signal, able, ceiling, signal_of, told_apart, weights_of
from thresher.selection.statistics.verdict import CRITERION, Criterion, verdict
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


def judge_size(
    table: LossTable, name: str, reference: str, criterion: Criterion = CRITERION, at_step: float | None = None
) -> dict[str, Any]:
    """One proxy against the reference: the measures, what was compared, and which test sets can decide.

    Sizes may be SIZE@STEP; `at_step` is the step of the others, None: the last that all recipes of a size have. Raises
    InputError where both are one size at one step, no test set is able to decide and only such are asked for, or a
    measure needs noise nobody knows, or two recipes that the reference tells apart.
    """
    ends = [end_of(table, entry, at_step) for entry in (name, reference)]
    if ends[0] == ends[1]:
        raise InputError(f"{name!r} is the reference {reference!r} itself, and agrees with it; leave it out")
    ours, theirs = (table.at(size, step, criterion.average) for size, step in ends)
    recipes, sets = common(ours, theirs)
    known = [_signals(table, end, recipes, sets, side) for end, side in zip(ends, (ours, theirs), strict=True)]
    signals = [_believed(side) for side in known]
    ceilings = {test: ceiling(*(side.get(test) for side in signals)) for test in sets}
    errors = {test: signal.error for test, signal in signals[1].items()}
    if criterion.measure == "clear_accuracy" and len(errors) < len(sets):
        raise InputError("clear_accuracy needs the reference's noise: seeds, or losses at several steps; take another")
    weights = _weights(sets, ceilings, signals[1], criterion)
    options = {"top": criterion.top, "num_resamples": criterion.num_resamples, "seed": criterion.seed}
    options |= {"errors": errors, "weights": weights}
    truth = means(theirs, recipes, sets)
    by_set = judge(means(ours, recipes, sets), truth, **options)
    if criterion.measure not in (by_set.get(MEAN) or by_set[sets[0]]):
        raise InputError(
            f"the reference {reference!r} tells no two recipes apart on any test set, so {criterion.measure} says "
            "nothing; give more seeds, or take another criterion"
        )
    found: dict[str, Any] = {
        "judged": by_set,
        "signals": {
            test: {
                "proxy": _described(known[0][test]),
                "reference": _described(known[1][test]),
                "ceiling": ceilings[test],
                "is_counted": weights[test] > 0,
                "weight": weights[test],
                "pairs_apart": _pairs_apart(truth[test], errors.get(test)),
            }
            for test in sets
        },
        "num_recipes": len(recipes),
        "num_sets": len(sets),
        "num_seeds": _fewest(ours, recipes, sets),
        "num_reference_seeds": _fewest(theirs, recipes, sets),
        "left_out": sorted((set(ours) | set(theirs)) - set(recipes)),
        "left_out_sets": sorted((_sets(ours) | _sets(theirs)) - set(sets)),
        "steps": {"proxy": ends[0][1], "reference": ends[1][1]},
        "last_steps": {"proxy": table.end(ends[0][0]), "reference": table.end(ends[1][0])},
    }
    if criterion.average > 1:
        ends_alone = [means(table.at(size, step), recipes, sets) for size, step in ends]
        alone = judge(*ends_alone, **options)
        found["at_last_step"] = {m: asdict(e) for m, e in (alone.get(MEAN) or alone[sets[0]]).items()}
    seeds = {test: [ours[recipe][test] for recipe in recipes] for test in sets}
    if several := {test: own for test, own in seeds.items() if all(len(losses) > 1 for losses in own)}:
        found["spread_over_noise"] = spread_over_noise(several)
    return found


def end_of(table: LossTable, entry: str, at_step: float | None = None) -> tuple[str, float]:
    """The size and the step at which SIZE or SIZE@STEP is judged. Raises InputError for a step that is none."""
    size, step = _at(entry, at_step)
    return size, table.last_step(size) if step is None else step


def _sets(losses: Losses) -> set[str]:
    return {name for sets in losses.values() for name in sets}


def _weights(
    sets: Sequence[str], ceilings: Mapping[str, float], reference: Mapping[str, Signal], criterion: Criterion
) -> dict[str, float]:
    """How much each test set counts in the mean."""
    if criterion.sets == "weighted" and len(reference) < len(sets):
        raise InputError("--sets weighted needs the reference's noise: seeds, or losses at several steps; take all")
    chosen = able(ceilings, criterion.threshold) if criterion.sets == "able" else sets
    weights = weights_of(reference) if criterion.sets == "weighted" else {test: float(test in chosen) for test in sets}
    if not any(weights.values()):
        raise InputError(
            f"no test set can decide at {criterion.threshold:g}: noise alone keeps the best at "
            f"{max(ceilings.values()):.2f}; more seeds, or --sets all"
        )
    return weights


Signals = dict[str, dict[str, Signal]]
"""Test set -> its signal with the noise of `seeds` and of `checkpoints`, as far as each is known."""


def _signals(
    table: LossTable, end: tuple[str, float | None], recipes: Sequence[str], sets: Sequence[str], losses: Losses
) -> Signals:
    """The signal of each test set at one size: from its seeds, and from the last steps of its runs."""
    from_steps = table.checkpoints(*end)
    found: Signals = {}
    for test in sets:
        known = {"seeds": signal_of([losses[recipe][test] for recipe in recipes])}
        if all(test in from_steps.get(recipe, {}) for recipe in recipes):
            known["checkpoints"] = signal_of([from_steps[recipe][test] for recipe in recipes], "checkpoints")
        found[test] = {source: signal for source, signal in known.items() if signal is not None}
    return found


def _believed(signals: Signals) -> dict[str, Signal]:
    """Of each test set the signal that counts: from seeds, or else from checkpoints."""
    return {test: next(iter(known.values())) for test, known in signals.items() if known}


def _described(known: Mapping[str, Signal]) -> dict[str, Any] | None:
    """The signal that counts, and the `noise_from` each source, in units of the mean loss; no ratio to no noise."""
    if not known:
        return None
    signal = next(iter(known.values()))
    noise = {source: one.noise for source, one in known.items()}
    return {**asdict(signal), "ratio": signal.ratio if isfinite(signal.ratio) else None, "noise_from": noise}


def _fewest(losses: Losses, recipes: Sequence[str], sets: Sequence[str]) -> int:
    """The fewest seeds of any recipe."""
    return min(len(losses[recipe][name]) for recipe in recipes for name in sets)


def _pairs_apart(losses: Sequence[float], error: float | None) -> int | None:
    """Pairs of recipes that the reference tells apart; None where its noise is not known."""
    return None if error is None else int(told_apart(np.asarray(losses), error).sum()) // 2


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


def _at(entry: str, default: float | None) -> tuple[str, float | None]:
    size, _, step = entry.partition("@")
    try:
        return size, float(step) if step else default
    except ValueError:
        raise InputError(f"{entry!r}: the step is no number; write SIZE@STEP") from None


def trusted(transfer: Artifact, average: int = 1) -> dict[str, Any]:
    """What the arms at both sizes say of the proxy, as `thresher study verdict` does."""
    return judge_study(transfer, Criterion(top=(1,), average=average), units="arms")
