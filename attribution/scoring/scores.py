"""Scores of a pool for target tasks: DsDm's average datamodel weight of each example, streamed over a feature store.

    score(z_i) = mean_t score(z_i, t) = mean_m( phi_m(z_i)^T v_m ) * mean_m( Q_m(z_i) ),  v_m = K_m^{-1} mean_t phi_m(t)

(Engstrom et al. 2024, DsDm, section 3; TRAK for the score of a pair.) Higher is more helpful to the target. One shard
of the pool is in memory at a time and nothing of size n x t is formed.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.features.store import FeatureStore, Shard, check_space
from thresher.attribution.scoring.goal import resolve_goal, target_weights
from thresher.attribution.scoring.kernel import (
    EXACT_DAMPING,
    Damping,
    Kernel,
    at_unit_length,
    check_damping,
    fit_kernel,
    gram,
    kernel_of,
)
from thresher.attribution.scoring.reliability import PURE, SplitHalf, warn_of_loss
from thresher.attribution.scoring.score_table import num_tied, write_lengths
from thresher.attribution.scoring.top import TopExamples, write_top
from thresher.attribution.scoring.weighting import q_of, resolve_q
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.scores import check_names

Columns = Callable[[list[Shard]], dict[str, Float[np.ndarray, "rows"]]]


def score(
    pool: FeatureStore,
    targets: Mapping[str, FeatureStore],
    *,
    out: Path,
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    top: int = 0,
    goal: str = "selection",
    progress: Progress = SILENT,
) -> Artifact:
    """Score a pool: `scores.parquet` at `out` has id, domain and a float32 column a target, in the pool's order.

    `damping` and `convention` as in `fit_kernel`. `q`: what each example's score is multiplied by (`weighting.q_of`):
    sqrt of TRAK's Q = 1 - p, the mean over checkpoints; mean, that Q itself (None with conventions traker and dattri);
    none, 1.
    `top` > 0 adds `top.parquet`: of every target example, its `top` most helpful and most harmful pool examples; that
    holds M k numbers for each target example.
    `goal`: selection; labels, which tells right labels from wrong ones (its q is none unless given); or auto, labels
    where the examples of pool and targets are labelled with classes (see `goal`). `top` is of single examples and the
    same for both.
    The fact `agreement` is, by target, how far the scores are those without projection (see `reliability`); of a
    projection that loses something before its last sketch it is `agreement_at_most`. A warning is logged where it is
    less than it should be.
    Raises InputError for stores that were not made by the same models, projection and seed.
    """
    check_stores(pool, targets)
    goal = resolve_goal(goal, pool, targets)
    q = resolve_q(q, convention, goal=goal)
    if not 0 <= top <= pool.num_examples:
        raise InputError(f"top={top} is out of range for a pool of {pool.num_examples}; pass 0 to {pool.num_examples}")

    def write(draft: Draft) -> dict:
        solved, best, facts = [], {name: TopExamples(store, top) for name, store in targets.items() if top}, []
        halves = SplitHalf(pool, list(targets), damping) if _is_sketched(pool, convention) else None
        check_damping(damping, convention)
        for checkpoint in range(pool.num_checkpoints):
            matrix = gram(pool, checkpoint)
            kernel = kernel_of(pool, checkpoint, matrix, damping, convention)
            means = [
                mean_features(store, checkpoint, target_weights(goal, store.outputs(checkpoint)["confidence"]))
                for store in targets.values()
            ]
            solved.append(kernel.solve(torch.stack(means, dim=1)))
            if halves is not None:
                halves.add_checkpoint(matrix, kernel, torch.stack(means, dim=1))
            for examples in best.values():
                examples.add_checkpoint(checkpoint, kernel)
            facts.append(kernel.facts)

        def columns(shards: list[Shard]) -> dict[str, np.ndarray]:
            doubt = q_weights(pool, shards, q)
            for examples in best.values():
                examples.merge(shards, doubt)
            if halves is not None:
                halves.merge(shards, doubt)
            parts = [torch.from_numpy(s.features).double() @ v for s, v in zip(shards, solved, strict=True)]
            values = (torch.stack(parts).mean(dim=0).numpy() * doubt[:, None]).astype(np.float32)
            return {name: values[:, column] for column, name in enumerate(targets)}

        statistics = stream_scores(draft, pool, list(targets), columns, progress)
        agreement = halves.agreement() if halves is not None else {}
        warn_of_loss(agreement, pool.k)
        if best:
            extremes = {name: (targets[name].ids, examples.extremes) for name, examples in best.items()}
            write_top(draft, extremes, pool.ids_at)
        sizes = {name: store.num_examples for name, store in targets.items()}
        projection = pool.artifact.meta["config"]["projection"]
        made = {"kernels": facts, "targets": statistics, "num_target_examples": sizes}
        made["agreement" if projection in PURE else "agreement_at_most"] = agreement
        return made | common_facts(pool)

    inputs = {"pool": pool.content_hash} | {f"target {name}": store.content_hash for name, store in targets.items()}
    config = {"damping": damping, "q": q, "convention": convention, "top": top, "targets": list(targets)}
    config |= {"goal": goal} | ({"least_damping": EXACT_DAMPING} if damping is None else {})
    return build(out, kind="scores", config=config, seed=pool.artifact.meta["seed"], inputs=inputs, write=write)


def score_blocks(
    pool: FeatureStore,
    target: FeatureStore,
    *,
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
) -> Iterator[tuple[int, Float[np.ndarray, "rows t"]]]:
    """Scores of every pair, as blocks (first row, scores) of the pool in order: one shard in memory at a time.

    Every pair is what the linear datamodeling score needs; for everything else `score` averages or keeps the extremes.
    """
    check_stores(pool, {"target": target})
    q = resolve_q(q, convention)
    solved = []
    for checkpoint in range(pool.num_checkpoints):
        kernel = fit_kernel(pool, checkpoint, damping=damping, convention=convention)
        features = np.concatenate([block for _, block in target.blocks(checkpoint)])
        solved.append(kernel.solve(torch.from_numpy(features).T))
    for index in range(pool.num_shards):
        shards = [pool.shard(checkpoint, index) for checkpoint in range(pool.num_checkpoints)]
        parts = [torch.from_numpy(s.features).double() @ v for s, v in zip(shards, solved, strict=True)]
        yield shards[0].start, torch.stack(parts).mean(dim=0).numpy() * q_weights(pool, shards, q)[:, None]


def self_influence(
    pool: FeatureStore,
    *,
    out: Path,
    damping: Damping = None,
    q: str | None = None,
    convention: str = "thresher",
    progress: Progress = SILENT,
) -> Artifact:
    """Scores of each example for itself, mean_m( u^T K_m^{-1} u ) * mean_m(Q_m)^2, in the column `self_influence`.

    u is phi at length 1 and K_m = sum_i u_i u_i^T + lambda I: how large a margin's gradient is says little of labels
    and much of the model (relative influence, 2003.11630). With other packages' conventions, and of the loss's
    gradients, whose length is Q, u is phi.

    Large for what the model could not predict from the rest: rare, hard or mislabelled examples. With Q squared it is
    the influence on the example's own loss (whose gradient is Q times the margin's; Koh and Liang 2017, 1703.04730,
    section 5.4), which finds wrong labels as well as out-of-fold confidence does: docs/label-noise.md. `q` as in
    `score`, or square (None, but with conventions traker and dattri mean).
    """
    q = resolve_q(q or ("square" if convention == "thresher" else None), convention)
    unit = convention == "thresher" and pool.artifact.meta["config"]["output"] == "margin"

    def write(draft: Draft) -> dict:
        options = {"damping": damping, "convention": convention, "unit": unit}
        kernels = [fit_kernel(pool, m, **options) for m in range(pool.num_checkpoints)]

        def columns(shards: list[Shard]) -> dict[str, np.ndarray]:
            forms = [_quadratic(kernel, shard.features, unit) for kernel, shard in zip(kernels, shards, strict=True)]
            return {"self_influence": (np.mean(forms, axis=0) * q_weights(pool, shards, q)).astype(np.float32)}

        statistics = stream_scores(draft, pool, ["self_influence"], columns, progress)
        return {"kernels": [kernel.facts for kernel in kernels], "targets": statistics} | common_facts(pool)

    config = {"damping": damping, "q": q, "convention": convention, "unit": unit, "targets": ["self_influence"]}
    inputs, seed = {"pool": pool.content_hash}, pool.artifact.meta["seed"]
    return build(out, kind="scores", config=config, seed=seed, inputs=inputs, write=write)


def _is_sketched(pool: FeatureStore, convention: str) -> bool:
    """Whether the features end with a sketch of independent numbers, scored with a damping that halves can share."""
    projection = pool.artifact.meta["config"]["projection"]
    return convention == "thresher" and projection != "identity" and pool.k > 1


def mean_features(
    store: FeatureStore, checkpoint: int, weights: Float[np.ndarray, "t"] | None = None
) -> Float[Tensor, "k"]:
    """The weighted sum of a target's features, sum_t w_t phi(t) in float64; their mean if `weights` is None.

    Raises InputError for features that are not finite.
    """
    weights = np.full(store.num_examples, 1 / store.num_examples) if weights is None else weights
    total = torch.zeros(store.k, dtype=torch.float64)
    for start, block in store.blocks(checkpoint):
        total += torch.from_numpy(block).double().T @ torch.from_numpy(weights[start : start + len(block)])
    if not bool(total.isfinite().all()):
        raise InputError(
            f"{store.artifact.path} has features that are not finite (checkpoint {checkpoint}); make it again"
        )
    return total


def q_weights(store: FeatureStore, shards: list[Shard], q: str) -> Float[np.ndarray, "rows"]:
    """The factor `q_of` of each row of one shard, given under every checkpoint."""
    return q_of([shard.outputs["doubt"] for shard in shards], q, store.artifact.meta["config"]["output"])


def stream_scores(
    draft: Draft, pool: FeatureStore, names: list[str], columns: Columns, progress: Progress
) -> dict[str, dict[str, float]]:
    """Write `scores.parquet`, a row group a shard, and `lengths.npy`.

    Gives, for each column, its mean, its standard deviation, and how many examples have a score that another has too.
    """
    everything: list[np.ndarray] = []
    sums, squares = np.zeros(len(names)), np.zeros(len(names))
    fields = [("id", pa.string()), ("domain", pa.string()), *((name, pa.float32()) for name in names)]
    with (
        draft.file("scores.parquet") as file,
        pq.ParquetWriter(file, pa.schema(fields), compression="zstd") as writer,
        progress.task("scores", pool.num_examples) as advance,
    ):
        for index in range(pool.num_shards):
            scored = columns([pool.shard(checkpoint, index) for checkpoint in range(pool.num_checkpoints)])
            table = pool.examples_of(index)
            writer.write_table(pa.table([table["id"], table["domain"], *scored.values()], schema=pa.schema(fields)))
            everything.append(np.stack(list(scored.values())).astype(np.float32))
            values = everything[-1].astype(np.float64)
            sums, squares = sums + values.sum(axis=1), squares + np.square(values).sum(axis=1)
            advance(len(table))
    if pool.lengths is not None:
        write_lengths(draft, pool.lengths)
    means = sums / pool.num_examples
    spreads = np.sqrt(np.maximum(squares / pool.num_examples - means**2, 0))
    tied = [num_tied(column) for column in np.concatenate(everything, axis=1)]
    rows = zip(names, means, spreads, tied, strict=True)
    return {name: {"mean": float(m), "sd": float(s), "tied": t} for name, m, s, t in rows}


def check_stores(pool: FeatureStore, targets: Mapping[str, FeatureStore]) -> None:
    """Refuse targets whose features do not share a space with the pool's, both values said, and unusable names."""
    check_names(targets)
    for name, store in targets.items():
        check_space(pool.space, name, store)


def common_facts(pool: FeatureStore) -> dict[str, Any]:
    """The facts of a pool that artefacts made from it repeat."""
    facts = {"num_examples": pool.num_examples, "num_checkpoints": pool.num_checkpoints, "k": pool.k}
    return facts | {"numbered_by": pool.numbered_by}


def _quadratic(kernel: Kernel, features: Float[np.ndarray, "rows k"], unit: bool) -> Float[np.ndarray, "rows"]:
    rows = torch.from_numpy(features).double()
    return kernel.whiten((at_unit_length(rows) if unit else rows).T).square().sum(dim=0).numpy()
