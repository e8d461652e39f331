"""What a target's mean is over: its examples as they are, for selection, or weighed to tell right labels from wrong.

    selection  v = K^{-1} mean_t phi(t): what predicts retraining (DsDm)
    labels     v = K^{-1} sum_t w_t p_t phi(t), w_t: what t's class weighs in the pool, shared by the target's examples
               of the class; p_t: of the right class, under the checkpoint itself. Scores are not multiplied by Q.

Two things make a plain mean rank wrong labels as helpful. *Hard target examples*: where the model takes a clean example
of class a for b, what would move it is examples that look like b and are labelled a: wrong labels. Weighed by 1 - p,
as the gradient of the loss weighs them, wrong labels look helpful (area under the curve .39 on text of four classes,
.70 unweighted, .79 weighed by p). *Classes*: of a pool with a common class and some rare ones, wrong labels fall on the
rare ones, and a target of as many of each wants more of those (.41; .77 with the shares of the pool). Q multiplies
wrong labels most, whose scores are mostly above 0 too, only less so. All measured: docs/label-noise.md.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError

GOALS = ("auto", "selection", "labels")


class Labelled(Protocol):
    """Prepared examples, or their features."""

    @property
    def is_classified(self) -> bool: ...
    @property
    def domains(self) -> np.ndarray: ...


def check_goal(goal: str) -> None:
    if goal not in GOALS:
        raise InputError(f"goal={goal!r} is unknown; pass one of: {', '.join(GOALS)}")


def resolve_goal(goal: str, pool: Labelled, targets: Mapping[str, Labelled]) -> str:
    """For auto: labels where the domains of the pool and of all targets are the classes they are labelled with."""
    check_goal(goal)
    if goal != "auto":
        return goal
    classified = pool.is_classified and all(target.is_classified for target in targets.values())
    return "labels" if classified and all(_overlap(pool, target) for target in targets.values()) else "selection"


def class_weights(name: str, goal: str, pool: Labelled, target: Labelled) -> Float[np.ndarray, " t"]:
    """What each example of the target weighs by its class, [t], summing to 1; all the same for selection.

    For labels, a class that one of both lacks has no share; raises InputError for a target with no class of the pool.
    """
    if goal == "selection":
        return np.full(len(target.domains), 1 / len(target.domains))
    counts, own = _counts(pool.domains), _counts(target.domains)
    weights = np.array([counts.get(label, 0) / own[label] for label in target.domains.tolist()], dtype=np.float64)
    if not weights.any():
        raise InputError(
            f"target {name!r} has no class (domain) of the pool's: its first is {str(target.domains[0])!r}, the "
            f"pool's {str(pool.domains[0])!r}; score it for selection, or give both the same classes"
        )
    return weights / weights.sum()


def with_confidence(
    weights: Float[np.ndarray, " t"], goal: str, confidence: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """The same for labels times p_t under a checkpoint, summing to 1 again."""
    if goal == "selection":
        return weights
    weighed = weights * np.maximum(confidence.astype(np.float64), np.finfo(np.float32).tiny)
    return weighed / weighed.sum()


def _overlap(pool: Labelled, target: Labelled) -> bool:
    return not set(np.unique(pool.domains).tolist()).isdisjoint(target.domains.tolist())


def _counts(labels: np.ndarray) -> Mapping[str, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
