"""dattri 0.3: `TRAKAttributor` on the CPU, its functions written as in dattri's own benchmark.

Its scores are of log-odds: higher is more helpful. Nothing is flipped.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dattri.algorithm.trak import TRAKAttributor
from dattri.task import AttributionTask
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.attribution.peers.child import plain_round
from benchmarks.attribution.peers.common import BATCH, Job
from benchmarks.attribution.peers.data import batches, load_model, pairs, pool_of, targets_of


def rounds(job: Job) -> tuple[Callable, Callable]:
    """A round is one batch through `cache`: gradients, projection, and a solve of k x k that is small beside them."""
    pool = pool_of(job)
    attributor = _attributor(job, regularization=1.0)  # a batch has fewer rows than k
    some = [next(pairs(pool))]
    return plain_round(load_model(job.models[0]), [next(batches(pool))]), lambda: attributor.cache(_loader(some))


def whole(job: Job) -> None:
    attributor = _attributor(job, regularization=1.0)
    attributor.cache(_loader(list(pairs(pool_of(job)))))
    torch.save(attributor.inv_XTX_XT_list, Path(job.out) / "features.pt")


def scores(job: Job) -> dict:
    """`dattri-kK.npy` [n, t] with dattri's defaults: no regularisation."""
    name = f"dattri-k{job.k}"
    attributor = _attributor(job, regularization=0.0)
    try:
        attributor.cache(_loader(list(pairs(pool_of(job)))))
    except torch.linalg.LinAlgError as error:
        return {"scores": {name: {"error": str(error).splitlines()[0]}}}
    with torch.no_grad():
        values = attributor.attribute(_loader(list(pairs(targets_of(job)))))
    np.save(Path(job.out) / f"{name}.npy", values.numpy())
    return {"scores": {name: {"damping": 0.0}}}


def _attributor(job: Job, *, regularization: float) -> TRAKAttributor:
    model = load_model(job.models[0])

    def log_odds(parameters, pair):
        logp = -_loss(parameters, pair)
        return logp - torch.log(1 - torch.exp(logp))

    def chance(parameters, pair):
        return torch.exp(-_loss(parameters, pair))

    def _loss(parameters, pair):
        image, label = pair
        logits = torch.func.functional_call(model, parameters, image.unsqueeze(0))
        return F.cross_entropy(logits, label.unsqueeze(0))

    checkpoints = [load_model(folder).state_dict() for folder in job.models]
    task = AttributionTask(loss_func=log_odds, model=model, checkpoints=checkpoints)
    return TRAKAttributor(
        task=task,
        correct_probability_func=chance,
        projector_kwargs={"proj_dim": job.k},
        device="cpu",
        regularization=regularization,
    )


def _loader(some: list[tuple]) -> DataLoader:
    inputs, labels = (torch.cat(parts) for parts in zip(*some, strict=True))
    return DataLoader(TensorDataset(inputs, labels), batch_size=BATCH, shuffle=False)
