"""What a target's mean is over: its examples as they are, for selection, or weighed to tell right labels from wrong.

    selection  v = K^{-1} mean_t phi(t): what predicts retraining (DsDm); scores are multiplied by sqrt Q
    labels     v = K^{-1} sum_t p_t phi(t) / sum_t p_t, p_t: of t's class, under the checkpoint itself; no Q

Two things make a plain mean rank wrong labels as helpful. *Hard target examples*: where the model takes a clean example
of class a for b, what would move it is examples that look like b and are labelled a: wrong labels. Weighed by 1 - p, as
the gradient of the loss weighs them, wrong labels look helpful outright. *Classes*: where the pool has a common class
and the target as many of each, wrong labels fall on the rare classes, which the target wants more of; but examples of
rare classes are the hard ones too. Weighing by p mends both. Q multiplies wrong labels most, whose scores are mostly
above 0 too, only less so. What each is worth: docs/label-noise.md.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from thresher.choices import GOALS
from thresher.errors import unknown


@runtime_checkable
class Labelled(Protocol):
    """Prepared examples, or their features."""

    @property
    def is_classified(self) -> bool:
        """Whether each example is labelled with a class."""
        ...


def check_goal(goal: str) -> None:
    """Raises InputError for an unknown goal."""
    if goal not in GOALS:
        raise unknown("goal", goal, GOALS)


def resolve_goal(goal: str, pool: Labelled, targets: Mapping[str, Labelled]) -> str:
    """The goal itself, or for auto: labels where the examples of pool and all targets are labelled with classes."""
    check_goal(goal)
    if goal != "auto":
        return goal
    return "labels" if pool.is_classified and all(target.is_classified for target in targets.values()) else "selection"


def target_weights(goal: str, confidence: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
    """What each example of a target weighs in its mean, [t], summing to 1; `confidence` is p_t or in proportion."""
    if goal == "selection":
        return np.full(len(confidence), 1 / len(confidence))
    trusted = np.maximum(confidence.astype(np.float64), np.finfo(np.float32).tiny)
    return trusted / trusted.sum()
