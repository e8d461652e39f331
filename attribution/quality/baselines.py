"""What a scorer must beat: scores of every (pool, target) pair that need no kernel, or not even a model.

Each gives blocks (first row, scores [rows, t]) of the pool in order, as `lds.predict_outputs` takes them.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from torch import nn

from thresher.attribution.embeddings import embeddings
from thresher.attribution.features.store import FeatureStore
from thresher.bm25 import BM25
from thresher.data.examples import Examples
from thresher.seeds import numpy_rng
from thresher.vectors import directions

Blocks = Iterator[tuple[int, Float[np.ndarray, "rows t"]]]
# Scores held at once: 32 MB of float64.
BLOCK_NUMBERS = 2**22


def random_scores(num_pool: int, num_targets: int, *, seed: int = 0) -> Blocks:
    """Scores that are independent standard normal numbers: an LDS of 0 but for chance."""
    rng, step = numpy_rng(seed, "random scores"), max(1, BLOCK_NUMBERS // num_targets)
    for start in range(0, num_pool, step):
        yield start, rng.standard_normal((min(step, num_pool - start), num_targets))


def gradient_cosines(pool: FeatureStore, target: FeatureStore) -> Blocks:
    """Cosine of projected gradients, the mean over checkpoints: TRAK without its kernel (TracIn, GradCos)."""
    queries = [
        directions(np.concatenate([block for _, block in target.blocks(m)])) for m in range(target.num_checkpoints)
    ]
    for index in range(pool.num_shards):
        shards = [pool.shard(m, index) for m in range(pool.num_checkpoints)]
        parts = [directions(shard.features) @ query.T for shard, query in zip(shards, queries, strict=True)]
        yield shards[0].start, np.mean(parts, axis=0)


def embedding_cosines(models: Iterable[nn.Module], pool: Examples, target: Examples, *, device: str = "auto") -> Blocks:
    """Cosine of `embeddings`, the mean over models."""
    pairs = [
        (directions(embeddings(m, pool, device=device)), directions(embeddings(m, target, device=device)))
        for m in models
    ]
    step = max(1, BLOCK_NUMBERS // len(target))
    for start in range(0, len(pool), step):
        yield start, np.mean([ours[start : start + step] @ theirs.T for ours, theirs in pairs], axis=0)


def bm25_scores(pool: Sequence[str], target: Sequence[str]) -> Blocks:
    """Okapi BM25 (Robertson et al. 1994) of pool texts for target texts as queries."""
    index = BM25(pool)
    yield 0, np.stack([index.scores(query) for query in target], axis=1)
