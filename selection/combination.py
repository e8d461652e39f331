"""DsDm: keep the examples with the largest datamodel weights for the targets (Engstrom et al. 2024, 2401.12926).

The published code averages raw weights over tasks, so that one task with a large spread decides alone. Here each
target is normalised over the pool first.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError


def combine(
    scores: Mapping[str, Float[np.ndarray, "n"]], weights: Mapping[str, float] | None = None
) -> Float[np.ndarray, "n"]:
    """sum_t w_t z_t / sum_t w_t, z_t the z-scores of target t over the pool, in float64.

    `weights` (None: equal) has one number >= 0 a target. Raises InputError for scores that are not finite or do not
    vary: they cannot rank the pool.
    """
    if not scores:
        raise InputError("no target to combine; pass scores for at least one target")
    share = shares(list(scores), weights)
    return np.asarray(sum(share[target] * _normalised(target, values) for target, values in scores.items()))


def shares(targets: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """`weights` (None: equal) scaled to sum to 1."""
    if weights is None:
        return dict.fromkeys(targets, 1 / len(targets))
    if set(weights) != set(targets):
        raise InputError(f"weights are for {sorted(weights)}, targets are {sorted(targets)}; give one weight a target")
    total = sum(weights.values())
    if not (all(weight >= 0 for weight in weights.values()) and 0 < total < float("inf")):
        raise InputError(f"weights {dict(weights)} must be finite and >= 0, not all 0; give other weights")
    return {target: weights[target] / total for target in targets}


def descending(scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Positions from the largest score to the smallest; among equal scores the earlier position comes first."""
    if not np.isfinite(scores).all():
        raise InputError(f"{_num_not_finite(scores)} of {len(scores)} scores are not finite; score the pool again")
    return np.argsort(-scores, kind="stable")


def top(scores: Float[np.ndarray, "n"], num_kept: int) -> Int[np.ndarray, "k"]:
    """Positions of the `num_kept` LARGEST scores, largest first: scores are of margins, so higher is more helpful."""
    return descending(scores)[:num_kept]


def _normalised(target: str, values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            f"{_num_not_finite(values)} of {len(values)} scores for target {target!r} are not finite; "
            "score again with more damping, or leave the target out"
        )
    # A constant column can have a spread of rounding errors, so the spread alone is not asked.
    if values.min() == values.max():
        raise InputError(
            f"all {len(values)} scores for target {target!r} are {values[0]:g}; they rank nothing, leave the target out"
        )
    return (values - values.mean()) / values.std()


def _num_not_finite(values: np.ndarray) -> int:
    return int((~np.isfinite(values)).sum())
