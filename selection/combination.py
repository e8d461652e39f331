"""DsDm: keep the examples with the largest datamodel weights for the targets (Engstrom et al. 2024, 2401.12926).

The published code averages raw weights over tasks, so that one task with a large spread decides alone. Here each
target is normalised over the pool first.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError


def combine(
    scores: Mapping[str, Float[np.ndarray, "n"]], weights: Mapping[str, float] | None = None
) -> Float[np.ndarray, "n"]:
    """One score an example, sum_t w_t z_t / sum_t w_t, with z_t the z-scores of target t over the pool, in float64.

    `weights` has one number of 0 or more for each target; None: all equal. Raises InputError for scores that are not
    finite or do not vary, because they cannot rank the pool.
    """
    if not scores:
        raise InputError("no target to combine; pass scores for at least one target")
    share = shares(list(scores), weights)
    return np.asarray(sum(share[target] * _normalised(target, values) for target, values in scores.items()))


def shares(targets: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """The weights of the targets, scaled to sum to 1; None: all equal.

    Raises InputError for weights that are not one for each target, below 0, not finite, or all 0.
    """
    if weights is None:
        return dict.fromkeys(targets, 1 / len(targets))
    if set(weights) != set(targets):
        raise InputError(f"weights are for {sorted(weights)}, targets are {sorted(targets)}; give one weight a target")
    total = sum(weights.values())
    if not (all(weight >= 0 for weight in weights.values()) and 0 < total < float("inf")):
        raise InputError(f"weights {dict(weights)} must be finite and >= 0, not all 0; give other weights")
    return {target: weights[target] / total for target in targets}


def _normalised(target: str, values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        num_bad = int((~np.isfinite(values)).sum())
        raise InputError(
            f"{num_bad} of {len(values)} scores for target {target!r} are not finite; "
            "score again with more damping, or leave the target out"
        )
    # A constant column can have a spread of rounding errors, so the spread alone does not tell.
    if values.min() == values.max():
        raise InputError(
            f"all {len(values)} scores for target {target!r} are {values[0]:g}; they rank nothing, leave the target out"
        )
    return (values - values.mean()) / values.std()
