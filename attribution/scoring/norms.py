"""Gradient norms, from projected gradients: a projection keeps norms."""

import numpy as np
from jaxtyping import Float

from thresher.attribution.features.featurize import FeatureStore


def gradient_norms(store: FeatureStore) -> Float[np.ndarray, " n"]:
    """The norm of each example's projected gradient, the mean over checkpoints; streamed."""
    total = np.zeros(store.num_examples)
    for checkpoint in range(store.num_checkpoints):
        for start, block in store.blocks(checkpoint):
            total[start : start + len(block)] += np.linalg.norm(block.astype(np.float64), axis=1)
    return total / store.num_checkpoints
