"""What proxies trained at several learning rates say of recipes: every rate judged, set by set, by a tuned reference.

The criterion is that of Can Small Training Runs Reliably Guide Data Curation? (arXiv 2512.24503): the proxy's ranking
of recipes against that of the reference with every recipe at its own best rate, a Spearman correlation of .95 or more.
Which test sets can decide is one answer for all rates: those in which noise leaves room for it at one rate at least
(`signal.ceiling`), so that a rate is not judged on fewer sets for being noisy itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, log
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.statistics.decisions import MEAN, Judged, judge
from thresher.selection.statistics.plateau import find_plateau, recommend
from thresher.selection.statistics.signal import Signal, able, ceiling, signal_of
from thresher.shown import with_interval

ALL = "mean loss"
"""The mean loss over all test sets, judged like a test set: what a single validation set of all would give."""
DECIDING = "mean over sets that can decide"
MULTIPLES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Of a proxy's own rate: the paper's reduced rates lie one to two orders of magnitude below the usual one, for runs of
billions of tokens; shorter ones do not train there."""
REFERENCE_MULTIPLES = (0.5, 1.0, 2.0)
NEEDED = 0.95
"""Spearman correlation by which the paper calls a ranking reliable."""
ROOM = 0.9
"""Decision accuracy that noise must leave room for on a test set that can decide."""
Losses = Float[np.ndarray, "recipes sets seeds"]


@dataclass(frozen=True)
class TriedRates:
    """The learning rates that models of one size are trained at. Raises InputError for none, and those not above 0."""

    own: float
    """The size's usual rate, which multiples are of."""
    tried: tuple[float, ...]
    """From low to high."""

    def __post_init__(self) -> None:
        if not self.tried or not all(isfinite(rate) and rate > 0 for rate in (self.own, *self.tried)):
            raise InputError(f"learning rates {[*self.tried]} (usual: {self.own}); pass one or more, all above 0")

    @classmethod
    def of(cls, own: float, multiples: Sequence[float], rates: Sequence[float] = ()) -> "TriedRates":
        """From `multiples` of the size's own rate, or from `rates` as they are where there are some."""
        # Six digits, so that a rate is the same run however it was asked for.
        found = rates or [own if multiple == 1 else float(f"{own * multiple:.6g}") for multiple in multiples]
        return cls(own, tuple(sorted(set(found))))

    @property
    def nearest(self) -> float:
        """The rate tried that is nearest to the size's own."""
        return min(self.tried, key=lambda rate: abs(log(rate / self.own)))

    def multiple(self, rate: float) -> float:
        """A rate as a multiple of the size's own."""
        return float(f"{rate / self.own:.6g}")


def judge_rates(
    proxy: Mapping[float, Losses],
    drops: Float[np.ndarray, "rates recipes"],
    reference: Mapping[float, Losses],
    recipes: Sequence[str],
    sets: Sequence[str],
    *,
    own: TriedRates,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Facts of a study of learning rates, as JSON.

    `proxy` and `reference` map each rate, from low to high, to the losses there; `drops` are the shares by which the
    training losses of the proxies fell; `own` are the proxy's rates. Returned are `rates` (a row each: what
    `find_plateau` says, the `multiple`, the measures `judged` on every set, on MEAN, DECIDING and ALL, and `ceilings`),
    `recommended` and `standard` (rates), `deciding` (the sets that can) and `tuned` (recipe -> the reference's rate).
    Recipes are resampled in the order of their names, so that the order in which they are given changes nothing.
    """
    order = sorted(range(len(recipes)), key=lambda i: recipes[i])
    recipes, drops = [recipes[i] for i in order], drops[:, order]
    proxy, reference = ({rate: losses[order] for rate, losses in side.items()} for side in (proxy, reference))
    tuned = {recipe: min(reference, key=lambda rate: reference[rate][i].mean()) for i, recipe in enumerate(recipes)}
    best = np.stack([reference[rate][i] for i, rate in enumerate(tuned.values())])
    truth = {name: signal_of(best[:, t].tolist()) for t, name in enumerate(sets)}
    ceilings = {
        rate: {name: ceiling(signal_of(losses[:, t].tolist()), truth[name]) for t, name in enumerate(sets)}
        for rate, losses in proxy.items()
    }
    deciding = able({name: max(row[name] for row in ceilings.values()) for name in sets}, ROOM)
    found = find_plateau(list(proxy), np.stack([losses.mean(axis=1) for losses in proxy.values()]), drops)
    options = {"num_resamples": num_resamples, "seed": seed}
    rows = []
    for rate, losses in zip(found, proxy.values(), strict=True):
        judged = _judged(losses.mean(axis=2), best.mean(axis=2), sets, truth, deciding, options)
        plain = {name: {measure: asdict(value) for measure, value in own.items()} for name, own in judged.items()}
        multiple = own.multiple(rate.learning_rate)
        rows.append({"multiple": multiple, **asdict(rate), "judged": plain, "ceilings": ceilings[rate.learning_rate]})
    chosen = recommend(found)
    return {
        "rates": rows,
        "recommended": None if chosen is None else chosen.learning_rate,
        "standard": own.nearest,
        "sets": list(sets),
        "deciding": deciding,
        "tuned": tuned,
        "num_recipes": len(recipes),
    }


def _judged(
    losses: Float[np.ndarray, "recipes sets"],
    best: Float[np.ndarray, "recipes sets"],
    sets: Sequence[str],
    truth: Mapping[str, Signal | None],
    deciding: Sequence[str],
    options: Mapping[str, Any],
) -> Judged:
    errors = {name: signal.error for name, signal in truth.items() if signal is not None}
    ours, theirs = (dict(zip(sets, side.T, strict=True)) for side in (losses, best))
    judged = judge(ours, theirs, errors=errors, **options)
    judged.setdefault(MEAN, judged[sets[0]])
    if deciding:
        some = [{name: side[name] for name in deciding} for side in (ours, theirs)]
        of_some = judge(*some, errors=errors, **options)
        judged[DECIDING] = of_some.get(MEAN, of_some[deciding[0]])
    return judged | judge({ALL: losses.mean(axis=1)}, {ALL: best.mean(axis=1)}, **options)


def row_of(facts: Mapping[str, Any], rate: float | None) -> Mapping[str, Any] | None:
    """The row of a rate; None for none."""
    return next((row for row in facts["rates"] if row["learning_rate"] == rate), None)


def recommendation(facts: Mapping[str, Any]) -> list[str]:
    """What to train proxies at, and how that rate and the standard one do by the criterion, in sentences.

    `facts` are those of `judge_rates` with `own`: for every size its own rate.
    """
    chosen, usual = row_of(facts, facts["recommended"]), row_of(facts, facts["standard"])
    assert usual is not None
    if chosen is None:
        return ["no rate trained every recipe; pass larger ones"]
    at = ", ".join(f"{chosen['multiple'] * own:.6g} at {size}" for size, own in facts["own"].items())
    lines = [f"train proxies at {chosen['multiple']:.6g} of their own rate: {at}"]
    both = [("recommended", chosen)] if chosen is usual else [("recommended", chosen), ("standard", usual)]
    for name, row in both:
        reached = [test for test in facts["sets"] if row["judged"][test]["spearman"]["value"] >= NEEDED]
        told = [test for test in reached if test in facts["deciding"]]
        line = (
            f"{name}, {row['multiple']:.3g} of it: Spearman of {NEEDED} or more on {len(reached)} of "
            f"{len(facts['sets'])} test sets, {_words(row['judged'][MEAN])} on average"
        )
        if facts["deciding"]:
            average = _words(row["judged"][DECIDING])
            line += f"; on {len(told)} of the {len(facts['deciding'])} that can decide, {average} on average"
        lines.append(line)
    if not facts["deciding"]:
        lines.append(f"no test set can decide: noise leaves room for a decision accuracy of {ROOM} on none")
    return lines


def _words(measures: Mapping[str, Any]) -> str:
    return with_interval(**measures["spearman"])
