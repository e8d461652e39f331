"""The ways to select, by name. All rank the whole pool and keep a prefix of that ranking."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.selection import controls, dsdm
from thresher.selection.budget import num_to_keep
from thresher.selection.scores import Scores
from thresher.selection.selection import Selected


@dataclass(frozen=True)
class Evidence:
    """What a method may look at."""

    scores: Float[np.ndarray, "n"]
    """Targets combined, higher = more helpful."""
    seed: int
    gradient_norms: Float[np.ndarray, "n"] | None


def _gradient_norm(evidence: Evidence) -> Int[np.ndarray, "n"]:
    if evidence.gradient_norms is None:
        raise InputError("method 'gradient_norm' needs gradient norms; pass them, or pass another method")
    return controls.gradient_norm(evidence.gradient_norms)


METHODS: dict[str, Callable[[Evidence], Int[np.ndarray, "n"]]] = {
    "dsdm": lambda evidence: dsdm.descending(evidence.scores),
    "random": lambda evidence: controls.random(len(evidence.scores), evidence.seed),
    "bottom": lambda evidence: controls.bottom(evidence.scores),
    "gradient_norm": _gradient_norm,
}
"""Each gives the order in which it takes the pool."""


def select(
    method: str,
    scores: Scores,
    *,
    fraction: float | None = None,
    count: int | None = None,
    seed: int = 0,
    targets: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    gradient_norms: Float[np.ndarray, "n"] | None = None,
) -> Selected:
    """Keep a `fraction` of the pool, or `count` examples, by one of METHODS.

    `targets` (None: all) are normalised and averaged with `weights` (see `dsdm.combine`). Only "random" uses `seed`;
    only "gradient_norm" uses `gradient_norms`. Raises InputError for what cannot be used.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown; pass one of: {', '.join(METHODS)}")
    num_kept = num_to_keep(len(scores), fraction=fraction, count=count)
    if gradient_norms is not None and len(gradient_norms) != len(scores):
        raise InputError(f"{len(gradient_norms)} gradient norms for {len(scores)} scores; pass those of the same pool")
    combined = dsdm.combine(scores.of(targets), weights)
    return Selected(combined, METHODS[method](Evidence(combined, seed, gradient_norms)), num_kept)
