"""What each class weighs in the mean over a target's examples: as many as the target has, or as the pool has.

A mean over a target asks two things at once: which examples are right and useful, and which classes there should be
more of. Where pool and target are composed differently, the second answer drowns the first. A pool of a common class
and some rare ones, with wrong labels, and a target of as many of each: the wrong labels fall on the rare classes,
which the target wants more of, and they rank as *helpful* (area under the curve .41; .77 with the pool's shares, on
text of four classes: docs/label-noise.md). With the shares of the pool the first question is left.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError

TARGET_SHARES = ("auto", "target", "pool")


def check_shares(shares: str) -> None:
    if shares not in TARGET_SHARES:
        raise InputError(f"target_shares={shares!r} is unknown; pass one of: {', '.join(TARGET_SHARES)}")


class Labelled(Protocol):
    """Prepared examples, or their features."""

    @property
    def is_classified(self) -> bool: ...
    @property
    def domains(self) -> np.ndarray: ...


def resolve_shares(shares: str, pool: Labelled, target: Labelled) -> str:
    """For auto: the pool's shares where the domains of both are the classes they are labelled with."""
    check_shares(shares)
    if shares != "auto":
        return shares
    return "pool" if pool.is_classified and target.is_classified and _overlap(pool, target) else "target"


def target_weights(name: str, shares: str, pool: Labelled, target: Labelled) -> Float[np.ndarray, " t"]:
    """What each example of the target weighs in its mean, [t], summing to 1.

    `shares` is target or pool. Under pool, classes that the target lacks have no share, and those that the pool lacks
    have none either; raises InputError for a target with no class of the pool.
    """
    if shares == "target":
        return np.full(len(target.domains), 1 / len(target.domains))
    counts, own = _counts(pool.domains), _counts(target.domains)
    weights = np.array([counts.get(label, 0) / own[label] for label in target.domains.tolist()], dtype=np.float64)
    if not weights.any():
        raise InputError(
            f"target {name!r} has no class (domain) of the pool's, so it cannot have the pool's shares; its first is "
            f"{target.domains[0]!r}, the pool's {pool.domains[0]!r}: pass target_shares=target, or give both the same classes"
        )
    return weights / weights.sum()


def _overlap(pool: Labelled, target: Labelled) -> bool:
    return not set(np.unique(pool.domains).tolist()).isdisjoint(target.domains.tolist())


def _counts(labels: np.ndarray) -> Mapping[str, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
