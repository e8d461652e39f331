"""How alike examples' gradients are, streamed over feature stores: to targets on average, and to each other."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float

from thresher.attribution.features.store import FeatureStore, check_space
from thresher.attribution.scoring.kernel import Damping, fit_kernel
from thresher.vectors import directions


def mean_cosines(pool: FeatureStore, targets: Mapping[str, FeatureStore]) -> dict[str, Float[np.ndarray, "n"]]:
    """For each target, mean_m mean_t cos(phi_m(z), phi_m(t)): LESS (Xia et al. 2024, 2402.04333, definition 3.1).

    Checkpoints count the same (LESS weighs those of one run by their learning rate; proxies here are runs of their own,
    each at its end), and the pool's gradients are plain ones (LESS takes Adam's direction).
    """
    for name, store in targets.items():
        check_space(pool.space, name, store)
    cosines = {name: np.zeros(pool.num_examples) for name in targets}
    for checkpoint in range(pool.num_checkpoints):
        means = {name: _mean_direction(store, checkpoint) for name, store in targets.items()}
        for start, block in pool.blocks(checkpoint):
            rows = directions(block)
            for name, mean in means.items():
                cosines[name][start : start + len(rows)] += rows @ mean / pool.num_checkpoints
    return cosines


def kernel_directions(pool: FeatureStore, damping: Damping = None) -> Float[np.ndarray, "n d"]:
    """Unit vectors whose inner products are mean_m cos(W_m phi_m(z), W_m phi_m(c)), W_m^T W_m = (K_m + lambda I)^-1.

    How much training on c does to z, whatever the sizes of their gradients. All n in memory, k numbers a checkpoint.
    """
    vectors = np.empty((pool.num_examples, pool.num_checkpoints * pool.k), dtype=np.float32)
    for checkpoint in range(pool.num_checkpoints):
        kernel = fit_kernel(pool, checkpoint, damping=damping)
        columns = slice(checkpoint * pool.k, (checkpoint + 1) * pool.k)
        for start, block in pool.blocks(checkpoint):
            whitened = kernel.whiten(torch.from_numpy(block).T).T.float().numpy()
            vectors[start : start + len(block), columns] = directions(whitened) / pool.num_checkpoints**0.5
    return vectors


def _mean_direction(store: FeatureStore, checkpoint: int) -> Float[np.ndarray, "k"]:
    total = np.zeros(store.k)
    for _, block in store.blocks(checkpoint):
        total += directions(block).sum(axis=0, dtype=np.float64)
    return (total / store.num_examples).astype(np.float32)


def gradient_norms(store: FeatureStore) -> Float[np.ndarray, "n"]:
    """The norm of each example's projected gradient, the mean over checkpoints; streamed."""
    total = np.zeros(store.num_examples)
    for checkpoint in range(store.num_checkpoints):
        for start, block in store.blocks(checkpoint):
            total[start : start + len(block)] += np.linalg.norm(block.astype(np.float64), axis=1)
    return total / store.num_checkpoints


def whitened_cosines(
    pool: FeatureStore, target: FeatureStore, damping: Damping = None
) -> Iterator[tuple[int, Float[np.ndarray, "rows t"]]]:
    """mean_m cos(W_m phi_m(z), W_m phi_m(t)) of every pair, W_m^T W_m = (K_m + lambda I)^-1, as blocks of the pool.

    TrackStar (Chang et al. 2024, 2410.17413), where features are of gradients scaled by the second moments of the
    optimiser (`featurize(scales=)`). At unit length no example is helpful because its gradient is large.
    """
    check_space(pool.space, "target", target)
    kernels = [fit_kernel(pool, m, damping=damping) for m in range(pool.num_checkpoints)]

    def whitened(m: int, rows: np.ndarray) -> np.ndarray:
        return directions(kernels[m].whiten(torch.from_numpy(rows).T).T.float().numpy())

    queries = [
        whitened(m, np.concatenate([block for _, block in target.blocks(m)])) for m in range(pool.num_checkpoints)
    ]
    for index in range(pool.num_shards):
        shards = [pool.shard(m, index) for m in range(pool.num_checkpoints)]
        parts = [whitened(m, shard.features) @ queries[m].T for m, shard in enumerate(shards)]
        yield shards[0].start, np.mean(parts, axis=0)
