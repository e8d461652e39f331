"""The linear datamodeling score: do scores predict what retraining on a subset does?

    LDS(t) = Spearman_s( sum_{i in D_s} score(z_i, t),  f(t; theta(D_s)) ),     averaged over target examples t

(TRAK, arXiv 2303.14186, definition 2.)

Shapes: m subsets, n pool examples, t target examples, r retrainings of each subset with different seeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from thresher.errors import InputError
from thresher.seeds import numpy_rng

NUM_RESAMPLES = 500
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over targets with a 95 % bootstrap interval over subsets and targets."""

    mean: float
    low: float
    high: float


def predict_outputs(
    scores: Iterable[tuple[int, Float[np.ndarray, "rows t"]]], subsets: Bool[np.ndarray, "m n"]
) -> Float[np.ndarray, "m t"]:
    """Predict each subset's outputs as sum_{i in D_s} score(z_i, t).

    Scores come in blocks (first row, scores) of the pool: n x t is never held.
    """
    total = 0.0
    for start, block in scores:
        total = total + subsets[:, start : start + len(block)].astype(np.float64) @ block.astype(np.float64)
    return np.asarray(total)


def lds(predicted: Float[np.ndarray, "m t"], outputs: Float[np.ndarray, "m t"]) -> Float[np.ndarray, "t"]:
    """The LDS of each target example; 0 where a prediction or an output never varies."""
    return _correlation(_ranks(predicted), _ranks(outputs))


def lds_table(
    predicted: Mapping[str, Float[np.ndarray, "_ _"]],
    outputs: Float[np.ndarray, "m r t"],
    *,
    baseline: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """For each scorer its `lds`, and its `difference` and `ratio` to the baseline scorer (paired), with intervals.

    `predicted` holds the predicted outputs of each scorer, [m, t]. Outputs are averaged over retrainings. A resample
    draws subsets and targets, each with replacement, the same for all scorers. Raises InputError for shapes that do not
    agree, for predictions that are not finite, and for fewer than 3 subsets.
    """
    outputs = _checked(outputs)
    truth = outputs.mean(axis=1)
    for name, values in predicted.items():
        if values.shape != truth.shape:
            raise InputError(
                f"scorer {name!r} predicts {values.shape}, the ground truth is {truth.shape}; use its subsets"
            )
        if not np.isfinite(values).all():
            raise InputError(f"scorer {name!r} gives scores that are not finite; leave it out, or repair its scores")
    values = {name: float(lds(p, truth).mean()) for name, p in predicted.items()}
    rng, draws = numpy_rng(seed, "lds"), {name: np.empty(num_resamples) for name in predicted}
    for resample in range(num_resamples):
        subsets, targets = (rng.integers(size, size=size) for size in truth.shape)
        grid = np.ix_(subsets, targets)
        ranks = _ranks(truth[grid])
        for name, p in predicted.items():
            draws[name][resample] = _correlation(_ranks(p[grid]), ranks).mean()
    table = {}
    for name in predicted:
        table[name] = {"lds": _estimate(values[name], draws[name])}
        if baseline is not None and name != baseline:
            base, base_draws = values[baseline], draws[baseline]
            table[name]["difference"] = _estimate(values[name] - base, draws[name] - base_draws)
            with np.errstate(divide="ignore", invalid="ignore"):
                table[name]["ratio"] = _estimate(np.float64(values[name]) / base, draws[name] / base_draws)
    return table


def without_level(values: Float[np.ndarray, "*m t"]) -> Float[np.ndarray, "*m t"]:
    """Values less their mean over targets: how the targets differ under each model.

    What moves all targets alike, a training that happened to go well, is mostly the seed's doing and in no score. Where
    it is much of what retraining shows, the LDS without it tells scorers apart that the plain one cannot.
    """
    return values - values.mean(axis=-1, keepdims=True)


def level_share(outputs: Float[np.ndarray, "m r t"]) -> float:
    """The variance over subsets of the mean over targets, as a share of the mean variance of single targets."""
    means = _checked(outputs).mean(axis=1)
    return float(means.mean(axis=1).var() / max(means.var(axis=0).mean(), np.finfo(np.float64).tiny))


def noise_ceiling(
    outputs: Float[np.ndarray, "m r t"], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """What no scorer can be expected to exceed, from retrainings of the same subsets with other seeds.

    `agreement`: Spearman over subsets between the means of two disjoint halves of the seeds, averaged over targets.
    `ceiling`: the correlation of a perfect predictor with the mean over all r, sqrt of that mean's reliability
    2a / (1 + a) (Spearman and Brown 1910). Raises InputError for one retraining a subset.
    """
    outputs = _checked(outputs)
    half = outputs.shape[1] // 2
    if half < 1:
        raise InputError("a noise ceiling needs 2 retrainings of each subset, 1 given; retrain with --repeats 2")
    first, second = outputs[:, :half].mean(axis=1), outputs[:, half : 2 * half].mean(axis=1)
    value, draws = float(lds(first, second).mean()), np.empty(num_resamples)
    rng = numpy_rng(seed, "ceiling")
    for resample in range(num_resamples):
        grid = np.ix_(*(rng.integers(size, size=size) for size in first.shape))
        draws[resample] = lds(first[grid], second[grid]).mean()
    return {
        "agreement": _estimate(value, draws),
        "ceiling": _estimate(float(_perfect(np.array(value))), _perfect(draws)),
    }


def draw_subsets(num_subsets: int, num_pool: int, fraction: float, seed: int) -> Bool[np.ndarray, "m n"]:
    """Draw random subsets of a pool, as masks.

    Subset s is `default_rng(seed + s).choice(n, round(fraction n), replace=False)`.
    Raises InputError as `check_subsets` does.
    """
    check_subsets(num_subsets, num_pool, fraction)
    size, subsets = round(fraction * num_pool), np.zeros((num_subsets, num_pool), dtype=bool)
    for s in range(num_subsets):
        subsets[s, np.random.default_rng(seed + s).choice(num_pool, size, replace=False)] = True
    return subsets


def check_subsets(num_subsets: int, num_pool: int, fraction: float) -> None:
    """Raise InputError for fewer than 3 subsets, and for a fraction that leaves a subset empty or whole."""
    size = round(fraction * num_pool)
    if not 0 < size < num_pool:
        raise InputError(
            f"fraction={fraction} of {num_pool} examples is {size}; pass one between 0 and 1 that splits them"
        )
    if num_subsets < 3:
        raise InputError(f"subsets={num_subsets}; a rank correlation over subsets needs at least 3")


def _checked(outputs: np.ndarray) -> np.ndarray:
    if outputs.ndim != 3 or outputs.shape[0] < 3:
        raise InputError(
            f"outputs have shape {outputs.shape}; [subsets, retrainings, targets] with 3 subsets are needed"
        )
    return outputs


def _ranks(values: Float[np.ndarray, "m t"]) -> Float[np.ndarray, "m t"]:
    """Centred ranks over subsets with unit norm; zeros where all are tied."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    norms = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(norms > 0, norms, 1.0)


def _correlation(a: Float[np.ndarray, "m t"], b: Float[np.ndarray, "m t"]) -> Float[np.ndarray, "t"]:
    return np.einsum("mt,mt->t", a, b)


def _perfect(agreement: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    agreement = np.clip(agreement, 0, 1)
    return np.asarray(np.sqrt(2 * agreement / (1 + agreement)))


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))
