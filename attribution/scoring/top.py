"""The most helpful and most harmful pool examples of every target example, kept while the pool streams by."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thresher.artifacts import Draft
from thresher.attribution.features.store import FeatureStore, Shard
from thresher.attribution.scoring.kernel import Kernel
from thresher.devices import full_float32

# Scores held at once: 16 MB of float32.
BLOCK_NUMBERS = 2**22


class Extremes:
    """Running top-k and bottom-k of each of t columns of scores, whose rows come by in blocks."""

    def __init__(self, num_columns: int, k: int) -> None:
        self.k = k
        empty = torch.empty(0, num_columns)
        # Per side: scores and the rows they belong to, best first, [up to k, t].
        self.best = {side: (empty, empty.long()) for side in ("helpful", "harmful")}

    def merge(self, scores: Float[Tensor, "rows t"], start: int) -> None:
        """Take in the scores of the rows from `start` on."""
        for side, (values, places) in self.best.items():
            largest = side == "helpful"
            block, rows = first(scores, self.k, largest=largest)
            values, places = torch.cat([values, block]), torch.cat([places, rows + start])
            # Those from earlier blocks stand first, so that a stable order keeps the earlier of equals.
            values, order = values.sort(dim=0, descending=largest, stable=True)
            self.best[side] = values[: self.k], places.gather(0, order[: self.k])


def first(values: Float[Tensor, "n t"], k: int, *, largest: bool) -> tuple[Float[Tensor, "m t"], Int[Tensor, "m t"]]:
    """The m = min(k, n) largest (or smallest) of each column in order, and their rows; among equals the earlier row.

    `topk` takes any of several equals, another one on another machine.
    """
    count = min(k, len(values))
    if count == 0:
        return values[:0], torch.empty(0, values.shape[1], dtype=torch.int64)
    candidates = values.topk(count, dim=0, largest=largest)
    last = candidates.values[-1]
    rows = candidates.indices
    tied = ((values >= last if largest else values <= last).sum(dim=0) > count).nonzero()[:, 0]
    if len(tied):
        rows[:, tied] = values[:, tied].sort(dim=0, descending=largest, stable=True).indices[:count]
    rows = rows.sort(dim=0).values
    kept, order = values.gather(0, rows).sort(dim=0, descending=largest, stable=True)
    return kept, rows.gather(0, order)


class TopExamples:
    """The extremes of each example of a target, from features; holds M k numbers for each of them."""

    def __init__(self, target: FeatureStore, k: int) -> None:
        self.target = target
        self.extremes = Extremes(target.num_examples, k)
        self._queries: list[Float[Tensor, "k t"]] = []

    def add_checkpoint(self, checkpoint: int, kernel: Kernel) -> None:
        """Take in K^{-1} phi(t) of every target example under the next checkpoint."""
        solved = [kernel.solve(torch.from_numpy(block).T).float() for _, block in self.target.blocks(checkpoint)]
        self._queries.append(torch.cat(solved, dim=1))

    @full_float32()
    def merge(self, shards: list[Shard], weights: Float[np.ndarray, "rows"]) -> None:
        """Take in one shard of the pool, given under every checkpoint."""
        step = max(self.extremes.k, BLOCK_NUMBERS // self.target.num_examples)
        for low in range(0, len(weights), step):
            rows = slice(low, low + step)
            parts = [torch.from_numpy(s.features[rows]) @ q for s, q in zip(shards, self._queries, strict=True)]
            scores = torch.stack(parts).mean(dim=0) * torch.from_numpy(weights[rows]).float()[:, None]
            self.extremes.merge(scores, shards[0].start + low)


IdsAt = Callable[[Int[np.ndarray, "r"]], Sequence[str]]
"""The ids of some rows of the pool."""


def write_top(draft: Draft, best: Mapping[str, tuple[Sequence[str], Extremes]], ids_at: IdsAt) -> None:
    """Write `top.parquet`, from the ids of each target's examples and their extremes.

    Columns: target, target_id, side (helpful or harmful), rank from 1, id, score.
    """
    tables = [
        _table(name, ids, side, values.T, places.T, ids_at)
        for name, (ids, extremes) in best.items()
        for side, (values, places) in extremes.best.items()
    ]
    with draft.file("top.parquet") as file:
        pq.write_table(pa.concat_tables(tables), file)


def _table(
    name: str,
    ids: Sequence[str],
    side: str,
    values: Float[Tensor, "t k"],
    places: Int[Tensor, "t k"],
    ids_at: IdsAt,
) -> pa.Table:
    return pa.table(
        {
            "target": [name] * values.numel(),
            "target_id": np.repeat(np.asarray(ids), values.shape[1]),
            "side": [side] * values.numel(),
            "rank": np.tile(np.arange(1, values.shape[1] + 1, dtype=np.int32), len(values)),
            "id": ids_at(places.flatten().numpy()),
            "score": values.flatten().numpy(),
        }
    )
