"""The most helpful and most harmful pool examples of every target example, kept while the pool streams by."""

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.features import FeatureStore, Shard
from thresher.attribution.trak import Kernel

# Scores held at once: 64 MB of float32.
BLOCK_NUMBERS = 2**24


class TopExamples:
    """Running top-k and bottom-k of each of t target examples."""

    def __init__(self, target: FeatureStore, k: int) -> None:
        self.target, self.k = target, k
        self._queries: list[Float[Tensor, "k t"]] = []
        empty = torch.empty(target.num_examples, 0)
        # Per side: signed scores and the pool rows they belong to.
        self._best = {side: (empty, empty.long()) for side in (1, -1)}

    def add_checkpoint(self, checkpoint: int, kernel: Kernel) -> None:
        """K^{-1} phi(t) of every target example under the next checkpoint."""
        solved = [kernel.solve(torch.from_numpy(block).T).float() for _, block in self.target.blocks(checkpoint)]
        self._queries.append(torch.cat(solved, dim=1))

    def merge(self, shards: list[Shard], weights: Float[np.ndarray, " rows"]) -> None:
        """Take in one shard of the pool, given under every checkpoint."""
        step = max(self.k, BLOCK_NUMBERS // self.target.num_examples)
        for low in range(0, len(weights), step):
            rows = slice(low, low + step)
            parts = [torch.from_numpy(s.features[rows]) @ q for s, q in zip(shards, self._queries, strict=True)]
            scores = torch.stack(parts).mean(dim=0) * torch.from_numpy(weights[rows]).float()[:, None]
            indices = torch.arange(len(scores)) + shards[0].start + low
            for side, (values, places) in self._best.items():
                values = torch.cat([values, side * scores.T], dim=1)
                places = torch.cat([places, indices.expand(len(places), -1)], dim=1)
                kept = values.topk(min(self.k, values.shape[1]), dim=1)
                self._best[side] = (kept.values, places.gather(1, kept.indices))

    def table(self, name: str, pool: FeatureStore) -> pa.Table:
        """target, target_id, side (helpful or harmful), rank from 1, id, score."""
        tables = []
        for side, (values, places) in self._best.items():
            num_kept = values.shape[1]
            count = values.numel()
            tables.append(
                pa.table(
                    {
                        "target": [name] * count,
                        "target_id": np.repeat(np.asarray(self.target.ids), num_kept),
                        "side": ["helpful" if side > 0 else "harmful"] * count,
                        "rank": np.tile(np.arange(1, num_kept + 1, dtype=np.int32), len(values)),
                        "id": pool.ids_at(places.flatten().numpy()),
                        "score": (side * values).flatten().numpy(),
                    }
                )
            )
        return pa.concat_tables(tables)
