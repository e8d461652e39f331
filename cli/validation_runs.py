"""The reference runs of a validation: each a model and its evaluation, several processes at once."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thresher.artifacts import Artifact, is_artifact
from thresher.cli.measure import measure
from thresher.cli.study import ModelTable
from thresher.cli.training import place_of, train_model
from thresher.cli.workspace import Workspace
from thresher.data.examples import Examples, open_examples
from thresher.progress import SILENT
from thresher.proxies.fleet import run_jobs


@dataclass(frozen=True)
class Planned:
    """One run to make: the arm and the repeat it belongs to, its seed, and the positions it is trained on."""

    arm: str
    repeat: int
    seed: int
    positions: np.ndarray


@dataclass(frozen=True)
class Finished:
    plan: Planned
    model: Artifact
    evaluation: Artifact


@dataclass(frozen=True)
class _Job:
    plan: Planned
    table: ModelTable
    pool: Path
    tasks: Mapping[str, Path]
    root: Path
    device: str


def finish_runs(
    pool: Examples,
    table: ModelTable,
    planned: Sequence[Planned],
    tasks: Mapping[str, Examples],
    *,
    workers: int | None,
    space: Workspace,
) -> list[Finished]:
    """Train and measure what is missing of `planned`, `workers` at once; then every run, in the order planned."""
    missing = [
        _Job(plan, table, pool.artifact.path, _paths(tasks), space.root, space.device)
        for plan in planned
        if not is_artifact(_model_place(pool, table, plan, space))
    ]
    where = {"workers": workers, "executor": space.executor, "device": space.device}
    with space.progress.task("reference runs", len(planned)) as advance:
        advance(len(planned) - len(missing))
        for _ in run_jobs(_run_job, missing, **where):
            advance(1)
    return list(_runs(pool, table, planned, tasks, Workspace(space.root, space.device, SILENT)))


def _runs(
    pool: Examples, table: ModelTable, planned: Iterable[Planned], tasks: Mapping[str, Examples], space: Workspace
) -> Iterator[Finished]:
    hashes = {name: examples.content_hash for name, examples in tasks.items()}
    for plan in planned:
        where = _name(plan)
        model = train_model(pool, table, f"reference/{where}", seed=plan.seed, indices=plan.positions, space=space)
        out = space.place(f"evaluations/{where}", model.content_hash, hashes)
        yield Finished(plan, model, measure(model, tasks, out=out, space=space))


def _run_job(job: _Job) -> None:
    tasks = {name: open_examples(path) for name, path in job.tasks.items()}
    list(_runs(open_examples(job.pool), job.table, [job.plan], tasks, Workspace(job.root, job.device, SILENT)))


def _model_place(pool: Examples, table: ModelTable, plan: Planned, space: Workspace) -> Path:
    return place_of(pool, table, f"reference/{_name(plan)}", seed=plan.seed, indices=plan.positions, space=space)


def _name(plan: Planned) -> str:
    plain = re.sub(r"[^\w.-]+", "-", plan.arm)
    return f"{plain}-{plan.repeat}"


def _paths(tasks: Mapping[str, Examples]) -> dict[str, Path]:
    return {name: examples.artifact.path for name, examples in tasks.items()}
