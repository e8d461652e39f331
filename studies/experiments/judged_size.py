"""One proxy of a table against its reference: what is compared, the measures, and which test sets can decide."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np

from thresher.errors import InputError
from thresher.selection.statistics.decisions import MEAN, judge, spread_over_noise
from thresher.selection.statistics.loss_table import Losses, LossTable, common, means
from thresher.selection.statistics.signal import Signal, able, ceiling, signal_of, told_apart, weights_of
from thresher.selection.statistics.verdict import CRITERION, Criterion


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


def _at(entry: str, default: float | None) -> tuple[str, float | None]:
    size, _, step = entry.partition("@")
    try:
        return size, float(step) if step else default
    except ValueError:
        raise InputError(f"{entry!r}: the step is no number; write SIZE@STEP") from None
