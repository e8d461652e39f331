"""kronfluence 1.0.1: EK-FAC factors of the pool, then scores of all pairs, its task written as in its CIFAR example.

A pairwise score is the gradient of the measurement, preconditioned, times that of the training loss. The measurement
is the negative margin, as in that example, so higher is more helpful and nothing is flipped. It covers the weights and
biases of linear and convolutional layers only, no norms. Several checkpoints: the mean of their scores.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch.utils.data import TensorDataset

from benchmarks.attribution.peers.child import plain_round
from benchmarks.attribution.peers.common import BATCH, Job
from benchmarks.attribution.peers.data import batches, load_model, pairs, pool_of, targets_of
from thresher.outputs import outputs_of

DAMPINGS = {"1e-8": 1e-8, "heuristic": None}
"""Its default, and its rule of .1 times the mean eigenvalue."""


class Classification(Task):
    def compute_train_loss(self, batch, model, sample=False):
        inputs, labels = batch
        logits = model(inputs)
        if sample:
            with torch.no_grad():
                labels = torch.multinomial(logits.softmax(dim=1), num_samples=1).flatten()
        return F.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch, model):
        inputs, labels = batch
        return -outputs_of(model(inputs), labels).margin.sum()


def rounds(job: Job) -> tuple[Callable, Callable, Callable]:
    """A round is factors and scores of the whole pool; the plain pass beside it sees the pool once."""
    plain = plain_round(load_model(job.models[0]), list(batches(pool_of(job))))
    parts: list[dict] = []

    def seconds() -> dict:
        return {"parts": {name: float(np.median([part[name] for part in parts[1:]])) for name in parts[0]}}

    def theirs() -> None:
        parts.append(whole(job))

    return plain, theirs, seconds


def whole(job: Job) -> dict:
    """Seconds of each part, written to a folder that is emptied first."""
    shutil.rmtree(Path(job.out) / "kronfluence", ignore_errors=True)
    return _influence(job, job.models[0], {"1e-8": 1e-8})[1]


def scores(job: Job) -> dict:
    """`kronfluence-ekfac-DAMPING.npy` [n, t]."""
    total: dict[str, np.ndarray] = {}
    for folder in job.models:
        shutil.rmtree(Path(job.out) / "kronfluence", ignore_errors=True)
        for name, values in _influence(job, folder, DAMPINGS)[0].items():
            total[name] = total.get(name, 0) + values / len(job.models)
    for name, values in total.items():
        np.save(Path(job.out) / f"kronfluence-ekfac-{name}.npy", values)
    return {"scores": {f"kronfluence-ekfac-{name}": {"damping": name} for name in total}}


def _influence(job: Job, folder: str, dampings: dict) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    pool, targets = (_dataset(each) for each in (pool_of(job), targets_of(job)))
    task = Classification()
    analyzer = Analyzer(
        analysis_name="comparison",
        model=prepare_model(load_model(folder), task),
        task=task,
        cpu=True,
        log_level=logging.ERROR,
        disable_tqdm=True,
        output_dir=str(Path(job.out) / "kronfluence"),
    )
    parts, fit = {}, {"per_device_batch_size": BATCH, "factor_args": FactorArguments("ekfac")}
    with _timed(parts, "covariances"):
        analyzer.fit_covariance_matrices("factors", pool, **fit)
    with _timed(parts, "eigendecompositions"):
        analyzer.perform_eigendecomposition("factors", factor_args=fit["factor_args"])
    with _timed(parts, "eigenvalues"):
        analyzer.fit_lambda_matrices("factors", pool, **fit)
    found = {}
    for name, damping in dampings.items():
        with _timed(parts, "scores"):
            analyzer.compute_pairwise_scores(
                scores_name=name,
                factors_name="factors",
                query_dataset=targets,
                train_dataset=pool,
                per_device_query_batch_size=BATCH,
                per_device_train_batch_size=BATCH,
                score_args=ScoreArguments(damping_factor=damping),
            )
        found[name] = analyzer.load_pairwise_scores(name)["all_modules"].T.numpy()
    return found, parts


@contextmanager
def _timed(parts: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    parts[name] = parts.get(name, 0.0) + time.perf_counter() - start


def _dataset(examples) -> TensorDataset:
    return TensorDataset(*(torch.cat(parts) for parts in zip(*pairs(examples), strict=True)))
