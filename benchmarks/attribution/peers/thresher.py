"""Ours: `Featurizer` on batches, and `thresher featurize` as a command."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.attribution.peers.child import plain_round
from benchmarks.attribution.peers.common import Job
from benchmarks.attribution.peers.data import batches, load_model, pool_of, targets_of
from thresher.attribution import Featurizer, featurize, open_features, score_blocks
from thresher.proxies import loaders_of


def rounds(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """A round is one batch."""
    model, batch = load_model(job.models[0]), next(batches(pool_of(job)))
    featurizer = Featurizer(load_model(job.models[0]), projection=job.method, k=job.k)

    def ours() -> None:
        featurizer(batch)

    return plain_round(model, [batch]), ours


def prepare(job: Job) -> dict:
    command = [sys.executable, "-m", "thresher", "featurize", "--models", *job.models]
    command += ["--examples", job.pool, "--out", str(Path(job.out) / "features"), "--device", "cpu"]
    return {"command": [*command, "--projection", job.method, "--k", str(job.k)]}


def scores(job: Job) -> dict:
    """`thresher-PROJECTION-kK.npy` [n, t] with our defaults."""
    models, out = loaders_of(job.models, pool_of(job), targets_of(job)), Path(job.out)
    options = {"projection": job.method, "k": job.k, "device": "cpu"}
    features = [
        open_features(featurize(models, examples, out=out / name, **options).path)
        for name, examples in (("pool", pool_of(job)), ("targets", targets_of(job)))
    ]
    values = np.concatenate([block for _, block in score_blocks(*features)])
    name = f"thresher-{job.method}-k{job.k}"
    np.save(out / f"{name}.npy", values)
    return {"scores": {name: {"damping": "default"}}}
