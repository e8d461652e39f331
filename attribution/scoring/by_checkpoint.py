"""Scores under each checkpoint by itself, of target examples and of their mean: how far do the proxies agree?

    score_m(z, t) = phi_m(z)^T K_m^{-1} phi_m(t) * mean_m'( Q_m'(z) )

Their mean over m is the score that `score` and `score_blocks` give. One shard of the pool is in memory at a time.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float

from thresher.artifacts import Artifact
from thresher.attribution.features.store import FeatureStore
from thresher.attribution.scoring.goal import target_weights
from thresher.attribution.scoring.kernel import gram, kernel_of
from thresher.attribution.scoring.scores import check_stores, mean_features, q_weights
from thresher.errors import InputError

OPTIONS = ("damping", "q", "convention", "goal")
"""What `score` records of how it scored."""


def scored_from(scores: Artifact, pool: FeatureStore, targets: Mapping[str, FeatureStore]) -> dict:
    """How `scores` were made from these features: damping, q, convention and goal.

    Raises InputError where they were made from others, or without features.
    """
    config, inputs = scores.meta["config"], scores.meta["inputs"]
    if any(option not in config for option in OPTIONS):
        raise InputError(f"{scores.path} was not made from features; leave out the features, or score from them")
    for name, store in {"pool": pool, **{f"target {name}": store for name, store in targets.items()}}.items():
        if inputs.get(name) != store.content_hash:
            raise InputError(f"{store.artifact.path} holds not the features that {scores.path} was made from ({name})")
    return {option: config[option] for option in OPTIONS}


def blocks_by_checkpoint(
    pool: FeatureStore,
    targets: Mapping[str, FeatureStore],
    *,
    damping: float | str | None,
    q: str,
    convention: str,
    goal: str,
    most: int | None = None,
) -> Iterator[tuple[int, dict[str, Float[np.ndarray, "m rows columns"]]]]:
    """(first row, scores of each target) of the pool, shard by shard, in order.

    `columns`: the score for the target as a whole, as `goal` weighs its examples, then those for its examples, the
    first `most` of them (None: all). Holds M k (t + 1) numbers. Raises InputError as `score` does.
    """
    check_stores(pool, targets)
    queries: list[dict[str, torch.Tensor]] = []
    for checkpoint in range(pool.num_checkpoints):
        kernel = kernel_of(pool, checkpoint, gram(pool, checkpoint), damping, convention)
        queries.append({name: kernel.solve(_queries(store, checkpoint, goal, most)) for name, store in targets.items()})
    for index in range(pool.num_shards):
        shards = [pool.shard(checkpoint, index) for checkpoint in range(pool.num_checkpoints)]
        doubt = q_weights(pool, shards, q)[:, None]
        rows = [torch.from_numpy(shard.features).double() for shard in shards]
        yield (
            shards[0].start,
            {
                name: np.stack([(r @ query[name]).numpy() * doubt for r, query in zip(rows, queries, strict=True)])
                for name in targets
            },
        )


def _queries(store: FeatureStore, checkpoint: int, goal: str, most: int | None) -> Float[torch.Tensor, "k columns"]:
    mean = mean_features(store, checkpoint, target_weights(goal, store.outputs(checkpoint)["confidence"]))
    parts, missing = [mean[:, None]], store.num_examples if most is None else min(most, store.num_examples)
    for _, block in store.blocks(checkpoint):
        parts.append(torch.from_numpy(block[:missing]).double().T)
        missing -= parts[-1].shape[1]
        if not missing:
            break
    return torch.cat(parts, dim=1)
