"""Ours: `Featurizer` on batches, and `thresher featurize` as a command."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.attribution.peers.child import plain_round
from benchmarks.attribution.peers.common import Job
from benchmarks.attribution.peers.data import batches, load_model, pool_of, targets_of
from thresher.attribution.features import featurize
from thresher.attribution.featurizer import Featurizer
from thresher.attribution.scores import q_weights
from thresher.attribution.trak import fit_kernel
from thresher.cli.models import loaders_of


def rounds(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """A round is one batch."""
    model, batch = load_model(job.models[0]), next(batches(pool_of(job)))
    featurizer = Featurizer(load_model(job.models[0]), projection=job.method, k=job.k)

    def ours() -> None:
        featurizer(batch)

    return plain_round(model, [batch]), ours


def prepare(job: Job) -> dict:
    command = [sys.executable, "-m", "thresher.cli.main", "featurize", "--models", *job.models]
    command += ["--examples", job.pool, "--out", str(Path(job.out) / "features"), "--device", "cpu"]
    return {"command": [*command, "--projection", job.method, "--k", str(job.k)]}


def scores(job: Job) -> dict:
    """`thresher-PROJECTION-kK.npy` [n, t] with our defaults."""
    models, out = loaders_of(job.models), Path(job.out)
    options = {"projection": job.method, "k": job.k, "device": "cpu"}
    features = [
        featurize(models, examples, out=out / name, **options)
        for name, examples in (("pool", pool_of(job)), ("targets", targets_of(job)))
    ]
    values = pairwise(*features)
    name = f"thresher-{job.method}-k{job.k}"
    np.save(out / f"{name}.npy", values)
    return {"scores": {name: {"damping": "default"}}}


def pairwise(pool_artifact, targets_artifact) -> np.ndarray:
    """mean_m( Phi_m K_m^-1 Phi_m(t) ) * mean_m(Q_m), entire: for comparisons of a few thousand examples."""
    from thresher.attribution.features import FeatureStore

    pool, targets = FeatureStore(pool_artifact), FeatureStore(targets_artifact)
    total = torch.zeros(pool.num_examples, targets.num_examples, dtype=torch.float64)
    for checkpoint in range(pool.num_checkpoints):
        kernel = fit_kernel(pool, checkpoint, damping=None)
        solved = kernel.solve(torch.cat([torch.from_numpy(rows) for _, rows in targets.blocks(checkpoint)]).double().T)
        for start, rows in pool.blocks(checkpoint):
            total[start : start + len(rows)] += torch.from_numpy(rows).double() @ solved
    shards = [[pool.shard(m, i) for m in range(pool.num_checkpoints)] for i in range(pool.num_shards)]
    weights = np.concatenate([q_weights(pool, shard, "mean") for shard in shards])
    return (total / pool.num_checkpoints).numpy() * weights[:, None]
