"""A FAISS index of a pool: which training examples helped or hurt one target example, without a pass over the pool.

With W_m^T W_m = K_m^{-1} the ensemble score is one inner product,

    score(z, t) = < concat_m W_m phi_m(z) * mean_m(Q_m(z)),  concat_m W_m phi_m(t) / M >.

Both sides are whitened alike (rather than all of K^{-1} on one), so that near vectors are in the same cells. The index
holds M k float32 numbers an example in memory; for a pool beyond that, `score` streams.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.attribution.features.store import FeatureStore, check_space
from thresher.attribution.scoring.kernel import Damping, Kernel, fit_kernel
from thresher.attribution.scoring.scores import common_facts, q_weights
from thresher.attribution.scoring.weighting import resolve_q
from thresher.errors import InputError, unknown
from thresher.progress import SILENT, Progress
from thresher.seeds import numpy_rng
from thresher.vectors import load_faiss

KINDS = ("auto", "flat", "ivf")
# Exact search below this many examples: 0.1 s a query at k=512 and less.
FLAT_LIMIT = 100_000
NUM_RECALL_QUERIES = 64
RECALL_AT = 10
RECALL_WANTED = 0.95


class Neighbours(NamedTuple):
    """(pool id, score) pairs of one target example, strongest first."""

    helpful: list[tuple[str, float]]
    harmful: list[tuple[str, float]]


def build_index(
    pool: FeatureStore,
    *,
    out: Path,
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    kind: str = "auto",
    progress: Progress = SILENT,
) -> Artifact:
    """An index of `pool` at `out`: `index.faiss`, `kernels.safetensors` and the examples' ids.

    `kind`: flat is exact; ivf searches as few cells as reach a recall@10 of 0.95 against exact search, with pool
    examples as queries, helpful and harmful alike (the facts say what was measured); auto is flat up to 100,000
    examples.
    """
    q = resolve_q(q, convention)
    if kind not in KINDS:
        raise unknown("index kind", kind, KINDS)
    faiss = load_faiss("an index")
    resolved = ("flat" if pool.num_examples <= FLAT_LIMIT else "ivf") if kind == "auto" else kind

    def write(draft: Draft) -> dict:
        kernels = [fit_kernel(pool, m, damping=damping, convention=convention) for m in range(pool.num_checkpoints)]
        index = _empty_index(faiss, pool, kernels, q, resolved)
        with progress.task("index", pool.num_examples) as advance:
            for vectors in _vectors(pool, kernels, q):
                index.add(vectors)
                advance(len(vectors))
        facts = {"index_kind": resolved, "recall_at_10": 1.0}
        if resolved == "ivf":
            facts |= _tune(index, *_recall_queries(pool, kernels, q))
        with draft.file("index.faiss") as file:
            faiss.write_index(index, str(file))
        with draft.file("kernels.safetensors") as file:
            factors = {f"factor {m}": kernel.factor.contiguous() for m, kernel in enumerate(kernels)}
            save_file(factors | {"norms": torch.tensor([kernel.norm for kernel in kernels]).double()}, file)
        with draft.file("examples.parquet") as file:
            file.write_bytes(pool.artifact.file("examples.parquet").read_bytes())
        return facts | common_facts(pool) | {"kernels": [kernel.facts for kernel in kernels], "space": pool.space}

    config = {"damping": damping, "q": q, "convention": convention, "index_kind": resolved}
    inputs, seed = {"pool": pool.content_hash}, pool.artifact.meta["seed"]
    return build(out, kind="index", config=config, seed=seed, inputs=inputs, write=write)


class Index:
    """A built index, loaded for searching."""

    def __init__(self, path: Path | Artifact) -> None:
        self.artifact = path if isinstance(path, Artifact) else open_artifact(path, "index")
        self._faiss = load_faiss("an index").read_index(str(self.artifact.file("index.faiss")))
        stored = load_file(self.artifact.file("kernels.safetensors"))
        self._kernels = [
            Kernel(stored[f"factor {m}"], damping=0.0, mean_diagonal=1.0, norm=float(norm))
            for m, norm in enumerate(stored["norms"])
        ]
        self._ids = pq.read_table(self.artifact.file("examples.parquet"), columns=["id"])["id"]

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the pool's examples, in the order of the pool."""
        return self._ids.to_pylist()

    def search(self, target: FeatureStore, example: int | str, k: int = 10) -> Neighbours:
        """The `k` most helpful and most harmful pool examples for one target example, given by position or id."""
        check_space(self.artifact.facts["space"], str(target.artifact.path), target)
        if not 1 <= k <= len(self._ids):
            raise InputError(f"{k} neighbours were asked for; pass 1 to {len(self._ids)}, the size of the pool")
        row = _row_of(target, example)
        features = [target.example(m, row)[None] for m in range(target.num_checkpoints)]
        query = _whitened(self._kernels, features) / len(self._kernels)
        return Neighbours(self._nearest(query, k, 1), self._nearest(query, k, -1))

    def _nearest(self, query: Float[np.ndarray, "1 d"], k: int, sign: int) -> list[tuple[str, float]]:
        scores, rows = self._faiss.search(sign * query, k)
        pairs = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        return [(self._ids[row].as_py(), sign * value) for value, row in pairs if row >= 0]


def search(index: Path | Artifact | Index, target: FeatureStore, example: int | str, k: int = 10) -> Neighbours:
    """Search an index as `Index.search` does; load an `Index` once where there are many queries."""
    return (index if isinstance(index, Index) else Index(index)).search(target, example, k)


def _row_of(target: FeatureStore, example: int | str) -> int:
    if isinstance(example, str):
        if example not in target.ids:
            raise InputError(f"{target.artifact.path} has no example {example!r}; its ids look like {target.ids[0]!r}")
        return target.ids.index(example)
    if not 0 <= example < target.num_examples:
        raise InputError(f"example {example} is out of range; pass 0 to {target.num_examples - 1}, or an id")
    return example


def _whitened(kernels: list[Kernel], features: list[np.ndarray]) -> Float[np.ndarray, "rows d"]:
    parts = [kernel.whiten(torch.from_numpy(rows).T).T for kernel, rows in zip(kernels, features, strict=True)]
    return torch.cat(parts, dim=1).float().contiguous().numpy()


def _vectors(pool: FeatureStore, kernels: list[Kernel], q: str) -> Iterator[Float[np.ndarray, "rows d"]]:
    """Index vectors, a shard at a time."""
    for index in range(pool.num_shards):
        shards = [pool.shard(checkpoint, index) for checkpoint in range(pool.num_checkpoints)]
        weights = q_weights(pool, shards, q).astype(np.float32)
        yield _whitened(kernels, [shard.features for shard in shards]) * weights[:, None]


def _empty_index(faiss: ModuleType, pool: FeatureStore, kernels: list[Kernel], q: str, kind: str):
    size = pool.k * pool.num_checkpoints
    if kind == "flat":
        return faiss.IndexFlatIP(size)
    num_cells = max(1, min(int(4 * pool.num_examples**0.5), pool.num_examples // 39))  # FAISS wants 39 points a cell
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, num_cells, faiss.METRIC_INNER_PRODUCT)
    # An even share of every shard, so that a pool sorted by domain trains on all of it.
    share = min(1.0, 64 * num_cells / pool.num_examples)
    rng = numpy_rng(pool.artifact.meta["seed"], "index", "cells")
    parts = [v[rng.permutation(len(v))[: max(1, round(share * len(v)))]] for v in _vectors(pool, kernels, q)]
    index.train(np.concatenate(parts))
    return index


def _recall_queries(
    pool: FeatureStore, kernels: list[Kernel], q: str
) -> tuple[Float[np.ndarray, "c d"], Int[np.ndarray, "c r"]]:
    """Pool examples as queries, each as it is (helpful) and negated (harmful), and their exact nearest rows."""
    rng = numpy_rng(pool.artifact.meta["seed"], "index", "recall")
    rows = rng.permutation(pool.num_examples)[:NUM_RECALL_QUERIES].tolist()
    features = [np.stack([pool.example(m, row) for row in rows]) for m in range(pool.num_checkpoints)]
    one_way = _whitened(kernels, features) / pool.num_checkpoints
    queries = np.concatenate([one_way, -one_way])
    values, places = np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64)
    start = 0
    for vectors in _vectors(pool, kernels, q):
        here = np.broadcast_to(np.arange(start, start + len(vectors)), (len(queries), len(vectors)))
        values = np.concatenate([values, queries @ vectors.T], axis=1)
        places = np.concatenate([places, here], axis=1)
        best = np.argsort(-values, axis=1, kind="stable")[:, :RECALL_AT]
        values, places = np.take_along_axis(values, best, axis=1), np.take_along_axis(places, best, axis=1)
        start += len(vectors)
    return queries, places


def _tune(index, queries: Float[np.ndarray, "c d"], exact: Int[np.ndarray, "c r"]) -> dict[str, float]:
    """Search the fewest cells, doubling, that reach the wanted recall."""
    index.nprobe = 1
    while True:
        _, nearest = index.search(queries, RECALL_AT)
        recall = float(np.mean([len(set(f) & set(e)) / len(e) for f, e in zip(nearest, exact, strict=True)]))
        if recall >= RECALL_WANTED or index.nprobe >= index.nlist:
            return {"recall_at_10": recall, "num_cells": index.nlist, "num_probed": index.nprobe}
        index.nprobe = min(2 * index.nprobe, index.nlist)
