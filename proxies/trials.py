"""Train models of given settings, one by one or many at once: where settings become a specification."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from thresher.artifacts import Artifact, is_artifact
from thresher.data.examples import Examples, open_examples
from thresher.executors.jobs import run_jobs
from thresher.executors.workers import num_workers
from thresher.progress import SILENT
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.spec import model_spec
from thresher.proxies.settings import ModelSettings, train_config_of
from thresher.proxies.training.order import hash_array
from thresher.proxies.training.stacked import Member, groups_of, train_stack
from thresher.proxies.training.trainer import train
from thresher.workspace import Workspace


@dataclass(frozen=True)
class Run:
    """One model to train: the name of its artefact, its seed, the positions it is trained on, and how many of their
    tokens (images) make an epoch; None: all. With shares of domains, so much of an epoch is of each."""

    name: str
    seed: int
    indices: np.ndarray
    budget: int | None = None
    mixture: Mapping[str, float] | None = None


def train_model(
    pool: Examples, settings: ModelSettings, name: str, *, seed: int, indices: np.ndarray, workspace: Workspace
) -> Artifact:
    """One model of `settings` on the pool's examples at `indices`, under `workspace`."""
    return train_run(pool, settings, Run(name, seed, indices), workspace)


def train_run(pool: Examples, settings: ModelSettings, run: Run, workspace: Workspace) -> Artifact:
    """The model of `run`, by itself."""
    spec = model_spec(settings.size, pool)
    return train(
        spec,
        pool,
        out=place_of(pool, settings, run, workspace),
        config=train_config_of(settings, spec),
        seed=run.seed,
        indices=run.indices,
        budget=run.budget,
        mixture=None if run.mixture is None else dict(run.mixture),
        device=workspace.device,
        progress=workspace.progress,
    )


AnyRun = TypeVar("AnyRun", bound="HasIndices")


class HasIndices(Protocol):
    @property
    def indices(self) -> np.ndarray: ...


@dataclass(frozen=True)
class _Job:
    runs: Sequence[Run]
    settings: ModelSettings
    pool: Path
    root: Path
    device: str


def train_models(
    pool: Examples,
    settings: ModelSettings,
    runs: Sequence[Run],
    *,
    label: str,
    workers: int | None,
    workspace: Workspace,
) -> list[Artifact]:
    """A model of `settings` for each of `runs`, several at once; what is there already is only opened."""

    missing = [run for run in runs if not is_artifact(place_of(pool, settings, run, workspace))]
    jobs = [
        _Job(group, settings, pool.artifact.path, workspace.root, workspace.device)
        for group in grouped(pool, settings, missing, workers, workspace)
    ]
    where = {"workers": workers, "executor": workspace.executor, "device": workspace.device}
    with workspace.progress.task(label, len(runs)) as advance:
        advance(len(runs) - len(missing))
        for position, _ in run_jobs(_train, jobs, **where):
            advance(len(jobs[position].runs))
    return [train_run(pool, settings, run, workspace) for run in runs]


def grouped(
    pool: Examples, settings: ModelSettings, runs: Sequence[AnyRun], workers: int | None, workspace: Workspace
) -> list[list[AnyRun]]:
    """Runs that are trained as one (see `proxies.stacked`), shared out among the workers."""
    spec, count = model_spec(settings.size, pool), num_workers(workers, workspace.device, workspace.executor)
    # A stack sees examples as they are, so runs on mixtures are made one by one.
    mixed = [getattr(run, "mixture", None) is not None for run in runs]
    plain = [run for run, is_mixed in zip(runs, mixed, strict=True) if not is_mixed]
    sizes = [(len(run.indices), getattr(run, "budget", None)) for run in plain]
    groups = groups_of(spec, train_config_of(settings, spec), sizes, count)
    alone = [[run] for run, is_mixed in zip(runs, mixed, strict=True) if is_mixed]
    return [[plain[position] for position in group] for group in groups] + alone


def train_group(pool: Examples, settings: ModelSettings, runs: Sequence[Run], workspace: Workspace) -> list[Artifact]:
    """The models of one group, trained as one where that is faster."""
    if any(run.mixture is not None for run in runs):
        return [train_run(pool, settings, run, workspace) for run in runs]
    spec = model_spec(settings.size, pool)
    members = [Member(place_of(pool, settings, run, workspace), run.seed, run.indices, run.budget) for run in runs]
    options = {"config": train_config_of(settings, spec), "device": workspace.device, "progress": workspace.progress}
    return train_stack(spec, pool, members, **options)


def _train(job: _Job) -> None:
    train_group(open_examples(job.pool), job.settings, job.runs, Workspace(job.root, job.device, SILENT))


def place_of(pool: Examples, settings: ModelSettings, run: Run, workspace: Workspace) -> Path:
    """Where `train_run` puts the model, whether it is there or not."""
    spec = model_spec(settings.size, pool)
    indices = hash_array(run.indices)
    made_from = (spec, asdict(train_config_of(settings, spec)), pool.content_hash, indices, run.seed, run.budget)
    return workspace.place(run.name, *made_from, *([] if run.mixture is None else [dict(run.mixture)]))


def check_trainable(pool: Examples, settings: ModelSettings, tasks: Mapping[str, Examples]) -> None:
    """Refuse, before anything is trained, settings that cannot be, and tasks that the model cannot read."""
    spec = model_spec(settings.size, pool)
    train_config_of(settings, spec)
    check_all(spec, (pool, *tasks.values()))
