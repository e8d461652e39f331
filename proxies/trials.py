"""Train a model of a study's table: the one place where a table becomes a specification and a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from thresher.artifacts import Artifact, is_artifact
from thresher.data.examples import Examples, open_examples
from thresher.executors.jobs import num_workers, run_jobs
from thresher.progress import SILENT
from thresher.proxies import Recipe, model_spec, train
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.spec import Spec, model_width, origin_of
from thresher.proxies.training.order import hash_array
from thresher.proxies.training.stacked import Member, groups_of, train_stack
from thresher.settings import record
from thresher.studies.study import ModelTable
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
    pool: Examples, table: ModelTable, name: str, *, seed: int, indices: np.ndarray, space: Workspace
) -> Artifact:
    """One model of `table` on the pool's examples at `indices`, under `space`."""
    return train_run(pool, table, Run(name, seed, indices), space)


def train_run(pool: Examples, table: ModelTable, run: Run, space: Workspace) -> Artifact:
    """The model of `run`, by itself."""
    spec = model_spec(table.size, pool)
    return train(
        spec,
        pool,
        out=place_of(pool, table, run, space),
        recipe=recipe_of(table, spec),
        seed=run.seed,
        indices=run.indices,
        budget=run.budget,
        mixture=None if run.mixture is None else dict(run.mixture),
        device=space.device,
        progress=space.progress,
    )


AnyRun = TypeVar("AnyRun", bound="HasIndices")


class HasIndices(Protocol):
    @property
    def indices(self) -> np.ndarray: ...


@dataclass(frozen=True)
class _Job:
    runs: Sequence[Run]
    table: ModelTable
    pool: Path
    root: Path
    device: str


def train_models(
    pool: Examples, table: ModelTable, runs: Sequence[Run], *, label: str, workers: int | None, space: Workspace
) -> list[Artifact]:
    """A model of `table` for each of `runs`, several at once; what is there already is only opened."""

    missing = [run for run in runs if not is_artifact(place_of(pool, table, run, space))]
    jobs = [
        _Job(group, table, pool.artifact.path, space.root, space.device)
        for group in grouped(pool, table, missing, workers, space)
    ]
    where = {"workers": workers, "executor": space.executor, "device": space.device}
    with space.progress.task(label, len(runs)) as advance:
        advance(len(runs) - len(missing))
        for position, _ in run_jobs(_train, jobs, **where):
            advance(len(jobs[position].runs))
    return [train_run(pool, table, run, space) for run in runs]


def grouped(
    pool: Examples, table: ModelTable, runs: Sequence[AnyRun], workers: int | None, space: Workspace
) -> list[list[AnyRun]]:
    """Runs that are trained as one (see `proxies.stacked`), shared out among the workers."""
    spec, count = model_spec(table.size, pool), num_workers(workers, space.device, space.executor)
    # A stack sees examples as they are, so runs on mixtures are made one by one.
    mixed = [getattr(run, "mixture", None) is not None for run in runs]
    plain = [run for run, is_mixed in zip(runs, mixed, strict=True) if not is_mixed]
    sizes = [(len(run.indices), getattr(run, "budget", None)) for run in plain]
    groups = groups_of(spec, recipe_of(table, spec), sizes, count)
    alone = [[run] for run, is_mixed in zip(runs, mixed, strict=True) if is_mixed]
    return [[plain[position] for position in group] for group in groups] + alone


def train_group(pool: Examples, table: ModelTable, runs: Sequence[Run], space: Workspace) -> list[Artifact]:
    """The models of one group, trained as one where that is faster."""
    if any(run.mixture is not None for run in runs):
        return [train_run(pool, table, run, space) for run in runs]
    spec = model_spec(table.size, pool)
    members = [Member(place_of(pool, table, run, space), run.seed, run.indices, run.budget) for run in runs]
    options = {"recipe": recipe_of(table, spec), "device": space.device, "progress": space.progress}
    return train_stack(spec, pool, members, **options)


def _train(job: _Job) -> None:
    train_group(open_examples(job.pool), job.table, job.runs, Workspace(job.root, job.device, SILENT))


def place_of(pool: Examples, table: ModelTable, run: Run, space: Workspace) -> Path:
    """Where `train_run` puts the model, whether it is there or not."""
    spec = model_spec(table.size, pool)
    indices = hash_array(run.indices)
    made_from = (spec, record(recipe_of(table, spec)), pool.content_hash, indices, run.seed, run.budget)
    return space.place(run.name, *made_from, *([] if run.mixture is None else [dict(run.mixture)]))


def check_trainable(pool: Examples, table: ModelTable, tasks: Mapping[str, Examples]) -> None:
    """Refuse, before anything is trained, a model or recipe that cannot be, and tasks that the model cannot read."""
    spec = model_spec(table.size, pool)
    recipe_of(table, spec)
    check_all(spec, (pool, *tasks.values()))


def recipe_of(table: ModelTable, spec: Spec) -> Recipe:
    """How the model of `spec` is trained: the defaults of its task, with what `table` says instead."""
    wanted = {key: value for key, value in asdict(table).items() if key in Recipe.__dataclass_fields__}
    return Recipe.for_task(spec["task"], **{key: value for key, value in wanted.items() if value is not None})


def usual_rate(table: ModelTable, pool: Examples) -> float:
    """The peak learning rate that a model of `table` is trained at unless it says another."""
    spec = model_spec(table.size, pool)
    return recipe_of(table, spec).peak_rate(source=origin_of(spec), width=model_width(spec))
