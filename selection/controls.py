"""Cheap ways to choose, which a selection has to beat at the same number of examples.

Each returns the order in which it takes the pool: all n positions, first taken first.
"""

import numpy as np
from jaxtyping import Float, Int

from thresher.seeds import numpy_rng
from thresher.selection.dsdm import descending


def random(num_pool: int, seed: int) -> Int[np.ndarray, "n"]:
    """A uniformly random order; the smaller of two budgets with one seed lies inside the larger."""
    return numpy_rng(seed, "selection", "random").permutation(num_pool)


def bottom(scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The least helpful first. If scores mean anything, training on these is worse than on random data."""
    return descending(-scores)


def gradient_norm(norms: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The largest per-example gradient norm first: what is left of attribution when the target is ignored."""
    return descending(norms)
