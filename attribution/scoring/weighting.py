"""Q: how much an example still pulls on the model, by which its score is multiplied.

TRAK's Newton step weighs example i by Q_i = 1 - p_i at the end of training (`mean`, over checkpoints). But training is
a path: the pull of an example is about 1 where it begins and Q_i where it ends, and a network that fits its data has
no Q left at all. `sqrt`, the geometric mean of both ends, predicts retraining better than `mean` and than leaving Q
out (`none`, as Small-to-Large does) on every kind of model that was measured: docs/log.md. `square` is for
the influence of an example on its own loss.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from thresher.choices import Q_CHOICES
from thresher.errors import unknown

Q = "sqrt"


def q_of(doubts: Sequence[Float[np.ndarray, "n"]], q: str, output: str) -> Float[np.ndarray, "n"]:
    """The factor of each example, from 1 - p under each checkpoint; ones for the loss, whose gradient has Q in it."""
    if q == "none" or output == "loss":
        return np.ones(len(doubts[0]))
    return np.stack(doubts).astype(np.float64).mean(axis=0) ** {"sqrt": 0.5, "mean": 1, "square": 2}[q]


def check_q(q: str) -> None:
    """Raises InputError for an unknown q."""
    if q not in Q_CHOICES:
        raise unknown("q", q, Q_CHOICES)


def resolve_q(q: str | None, convention: str, *, goal: str = "selection") -> str:
    """`q`, or for None what the convention has: mean in those of other packages; none where labels are the goal."""
    resolved = q or ("mean" if convention != "thresher" else "none" if goal == "labels" else Q)
    check_q(resolved)
    return resolved
