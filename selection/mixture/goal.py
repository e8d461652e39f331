"""What a mixture has to make small: the losses on several targets as one number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.mixture.laws.law import Losses


@dataclass(frozen=True)
class Goal:
    """Weights of the targets, which sum to 1, and how they are joined."""

    weights: Float[np.ndarray, "k"]
    worst_case: bool = False
    """The largest weighted excess over `reference` instead of the weighted mean."""
    reference: Float[np.ndarray, "k"] | None = None
    """Losses that the excess is counted from, such as those of the natural mixture; None: 0."""

    def excess(self, losses: Losses) -> Losses:
        """The terms of the worst case: k * weight * (loss - reference), the excess itself for equal weights."""
        base = 0.0 if self.reference is None else self.reference
        return (losses - base) * self.weights * np.count_nonzero(self.weights)

    def value(self, losses: Losses) -> Float[np.ndarray, "n"]:
        """The one number for each row of losses; lower is better."""
        if not self.worst_case:
            return losses @ self.weights
        return self.excess(losses)[:, self.weights > 0].max(axis=1)

    def counted_from(self, reference: Losses) -> "Goal":
        """The goal whose worst case counts from `reference`, one row of losses; a mean has none and stays as it is."""
        return replace(self, reference=reference[0]) if self.worst_case else self


def make_goal(targets: Sequence[str], weights: Mapping[str, float] | None = None, *, worst_case: bool = False) -> Goal:
    """The goal with `weights` on the targets they name, or with equal weights on all.

    Targets that `weights` leaves out do not count. Raises InputError for an unknown target, and weights below 0 or all
    0.
    """
    if weights is None:
        return Goal(np.full(len(targets), 1 / len(targets)), worst_case)
    if unknown := [name for name in weights if name not in targets]:
        raise InputError(f"no target is called {unknown[0]!r}; use one of {', '.join(targets)}")
    values = np.array([weights.get(target, 0.0) for target in targets], dtype=float)
    if not np.all(np.isfinite(values)) or np.any(values < 0) or values.sum() <= 0:
        raise InputError("target weights must be 0 or more, and one above 0; check them")
    return Goal(values / values.sum(), worst_case)
