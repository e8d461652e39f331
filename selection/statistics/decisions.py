"""Would decisions taken on a proxy hold on the reference? One number a recipe and test set on both sides.

Over recipes to make a training set, with x their losses at the proxy and y at the reference, on one test set:

    r2                 squared Pearson correlation of x and y
    spearman           correlation of their ranks (ties shared)
    decision_accuracy  share of pairs of recipes that x and y order alike (DataDecide, arXiv 2504.11393); a pair that
                       either side ties counts as wrong unless both do
    weighted_accuracy  the same share with every pair counting by |y_i - y_j|: recipes that lie near each other count
                       little
    clear_accuracy     the share among the pairs that the reference tells apart (`signal.told_apart`), where its noise
                       is known: ties within noise are neither right nor wrong
    regret@k           y of the best of the proxy's k best recipes, minus y of the best recipe; in units of loss; the
                       mean over the choices where the proxy ties recipes

A test set without a pair to count (no two recipes told apart, or all the same at the reference) says nothing: it has no
weighted_accuracy and no clear_accuracy, and no part in their means.

Intervals are the percentiles of these over resamples of the recipes and an unseen one (95 %, `power`), each kept as
weights: a recipe drawn twice counts twice, and forms no pair with itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb

import numpy as np
from jaxtyping import Bool, Float

from thresher.errors import InputError
from thresher.intervals import Interval
from thresher.selection.statistics.power import (
    Resamples,
    draw_recipes,
    mixed_agreement,
    resampled_recipes,
    seen_pairs,
)
from thresher.selection.statistics.signal import told_apart

Values = Float[np.ndarray, "r"]
Weights = Float[np.ndarray, "b r"]
TOP = (1, 3)
MEAN = "mean over sets"


Judged = dict[str, dict[str, Interval]]
"""Test set, and MEAN of all -> measure -> its value with the 95 % interval over resamples of the recipes."""


def judge(
    proxy: Mapping[str, Sequence[float] | np.ndarray],
    reference: Mapping[str, Sequence[float] | np.ndarray],
    *,
    errors: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    top: Sequence[int] = TOP,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Judged:
    """Every measure on every test set, and on their mean if there are several.

    Both sides map a test set to the loss of each recipe, with the same recipes in the same order. `errors`: of test
    sets, the standard error of a recipe's loss at the reference, without which there is no clear_accuracy. `weights`:
    how much each test set counts in the mean, 0 or more, none for 0; None: all alike. They are the same in every
    resample. `top` holds the k of the measures regret@k. Raises InputError for fewer than 3 recipes, sets that differ,
    or losses that are not finite.
    """
    names = list(proxy)
    if names != list(reference) or not names:
        raise InputError(
            f"test sets of the proxy ({', '.join(proxy)}) and the reference ({', '.join(reference)}) differ"
        )
    x, y = (np.array([side[name] for name in names], dtype=np.float64) for side in (proxy, reference))
    if x.shape != y.shape or x.shape[1] < 3:
        raise InputError(f"{x.shape[1]} and {y.shape[1]} recipes; decisions are judged on 3 or more, the same on both")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("some losses are not finite; leave out the runs that diverged, and say so")
    drawn = draw_recipes(x.shape[1], num_resamples, seed)
    known = errors or {}
    values = {name: _measures(a, b, drawn, top, known.get(name)) for name, a, b in zip(names, x, y, strict=True)}
    counts = {name: 1.0 if weights is None else weights.get(name, 0.0) for name in names}
    chosen = [name for name in names if counts[name] > 0]
    if len(names) > 1 and chosen:
        values[MEAN] = {}
        for measure in dict.fromkeys(measure for name in chosen for measure in values[name]):
            # Noise that is not known of a set leaves nothing to say of all; a set that says nothing is left out.
            if measure != "clear_accuracy" or all(name in known for name in chosen):
                having = [name for name in chosen if measure in values[name]]
                values[MEAN][measure] = np.average(
                    [values[name][measure] for name in having], axis=0, weights=[counts[name] for name in having]
                )
    return {
        name: {measure: resampled_recipes(of_rows) for measure, of_rows in measures.items()}
        for name, measures in values.items()
    }


def _measures(
    x: Values, y: Values, drawn: Resamples, top: Sequence[int], error: float | None = None
) -> dict[str, Float[np.ndarray, "2 b"]]:
    """Each measure with the unseen recipe, and without it."""
    weights = drawn.weights
    pearson = _correlation(np.broadcast_to(x, weights.shape), np.broadcast_to(y, weights.shape), weights)
    spearman = _correlation(_ranks(x, weights), _ranks(y, weights), weights)
    apart = np.abs(y[:, None] - y)
    kinds = {"decision_accuracy": np.ones_like(apart), "weighted_accuracy": apart}
    if error is not None:
        kinds["clear_accuracy"] = told_apart(y, error)
    measures = {
        "r2": (drawn.shrink(pearson) ** 2, pearson**2),
        "spearman": (drawn.shrink(spearman), spearman),
    }
    for name, counts in kinds.items():
        if (counts - np.diag(np.diag(counts))).any():
            agreement, is_told = _agreement(x, y, weights, counts)
            mixed = mixed_agreement(agreement, seen_pairs(weights), drawn)
            # A resample without a pair to count could have been anything.
            measures[name] = (mixed, agreement) if name == "decision_accuracy" else (
                np.where(is_told, mixed, 0.0), np.where(is_told, agreement, 1.0)
            )  # fmt: skip
    alone = replace(drawn, unseen=np.zeros_like(drawn.unseen))
    regrets = {f"regret@{k}": (_regret(x, y, drawn, k), _regret(x, y, alone, k)) for k in top if k < len(x)}
    return {name: np.stack(both) for name, both in (measures | regrets).items()}


def _correlation(x: Weights, y: Weights, weights: Weights) -> Float[np.ndarray, "b"]:
    """Weighted Pearson, row by row; 0 where a side is constant."""
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    x, y = (values - (weights * values).sum(axis=1, keepdims=True) / total for values in (x, y))
    product = (weights * x * y).sum(axis=1)
    size = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    return np.clip(np.divide(product, size, out=np.zeros_like(product), where=size > 0), -1, 1)


def _ranks(values: Values, weights: Weights) -> Weights:
    """Mid-ranks of `values` among recipes that count `weights` times."""
    levels, level = np.unique(values, return_inverse=True)
    counts = weights @ (level[:, None] == np.arange(len(levels)))
    return (np.cumsum(counts, axis=1) - counts / 2)[:, level]


def _agreement(
    x: Values, y: Values, weights: Weights, counts: Float[np.ndarray, "r r"]
) -> tuple[Float[np.ndarray, "b"], Bool[np.ndarray, "b"]]:
    """The share of pairs ordered alike, pair (i, j) counting `counts[i, j]` times, 1/2 of none; and if there is one."""
    same = (np.sign(x[:, None] - x) == np.sign(y[:, None] - y)) * counts
    np.fill_diagonal(same, 0.0)
    pairs = counts - np.diag(np.diag(counts))
    agreed, total = (np.einsum("bi,ij,bj->b", weights, each, weights, optimize=True) for each in (same, pairs))
    return np.divide(agreed, total, out=np.full_like(agreed, 0.5), where=total > 0), total > 0


def _regret(x: Values, y: Values, drawn: Resamples, k: int) -> Float[np.ndarray, "b"]:
    """Recipes that the proxy ties are taken by each row's coins; where all are there once, it is the mean over ways."""
    order = np.lexsort((drawn.coins, np.broadcast_to(x, drawn.coins.shape)), axis=1)
    place_of = np.argsort(order, axis=1)  # of each recipe in the proxy's order
    there, losses = np.take_along_axis(drawn.weights, order, axis=1) > 0, y[order]
    at, loss = drawn.places.T
    ahead = there & (np.arange(len(x)) < place_of[np.arange(len(at)), at][:, None])  # of the unseen recipe
    taken = (drawn.unseen > 0) & (ahead.sum(axis=1) < k)
    chosen = there & (np.cumsum(there, axis=1) <= (k - taken)[:, None])
    unseen = np.where(drawn.unseen > 0, y[loss], np.inf)
    reached = np.minimum(np.where(chosen, losses, np.inf).min(axis=1), np.where(taken, unseen, np.inf))
    best = np.minimum(np.where(there, losses, np.inf).min(axis=1), unseen)
    as_they_are = (drawn.weights == 1).all(axis=1) & (drawn.unseen == 0)
    reached[as_they_are] = _mean_best(x, y, k)
    return np.where(np.isfinite(best), reached, 0) - np.where(np.isfinite(best), best, 0)  # of none drawn, nothing


def _mean_best(x: Values, y: Values, k: int) -> float:
    """The mean of the best y of the k best of x, over the choices among those that tie for the last places."""
    last = np.sort(x)[k - 1]
    ahead, tied = y[x < last], np.sort(y[x == last])
    places, ways = k - len(ahead), comb(len(tied), k - len(ahead))
    best = np.minimum(tied, ahead.min(initial=np.inf))
    # The best of those taken is the i-th of the tied where the other places go to later ones.
    return sum(comb(len(tied) - 1 - i, places - 1) / ways * float(value) for i, value in enumerate(best))


def spread_over_noise(losses: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """For each test set, how far recipes lie apart in units of the noise of seeds, as `spread_of` gives it.

    `losses` maps a test set to the losses of each recipe's seeds. Raises InputError if no recipe has 2 seeds.
    """
    spreads = {name: spread_of(recipes) for name, recipes in losses.items()}
    for name, spread in spreads.items():
        if spread is None:
            raise InputError(f"test set {name!r} has one seed a recipe; seed noise needs 2")
    return {name: spread for name, spread in spreads.items() if spread is not None}


def spread_of(recipes: Sequence[Sequence[float]] | Float[np.ndarray, "r s"]) -> float | None:
    """The standard deviation of the recipes' means over that of single runs about their recipe's mean.

    `recipes` holds the loss of each seed of each recipe. None if every recipe has one seed; infinite if seeds agree
    exactly.
    """
    spread = float(np.std([np.mean(seeds) for seeds in recipes], ddof=1))
    several = [np.asarray(seeds, dtype=np.float64) for seeds in recipes if len(seeds) > 1]
    if not several:
        return None
    squares = sum(float(((seeds - seeds.mean()) ** 2).sum()) for seeds in several)
    noise = (squares / sum(len(seeds) - 1 for seeds in several)) ** 0.5
    return spread / noise if noise > 0 else float("inf")
