"""The reference runs of a validation: each a model and its evaluation, several processes at once."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thresher.artifacts import Artifact, is_artifact
from thresher.data.examples import Examples, open_examples
from thresher.executors.jobs import run_jobs
from thresher.progress import SILENT
from thresher.proxies.evaluation import measure
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Run, check_trainable, grouped, place_of, train_group, train_run
from thresher.workspace import Workspace


@dataclass(frozen=True)
class Planned:
    """One run to make: the arm and the repeat it belongs to, its seed, the positions it is trained on, and how many of
    their tokens (images) make an epoch; with shares of domains, so much of each."""

    arm: str
    repeat: int
    seed: int
    positions: np.ndarray
    budget: int | None = None
    mixture: Mapping[str, float] | None = None

    @property
    def run(self) -> Run:
        """The model to train."""
        plain = re.sub(r"[^\w.-]+", "-", self.arm)
        return Run(f"reference/{plain}-{self.repeat}", self.seed, self.positions, self.budget, self.mixture)

    @property
    def indices(self) -> np.ndarray:
        return self.positions


@dataclass(frozen=True)
class Finished:
    plan: Planned
    model: Artifact
    evaluation: Artifact


@dataclass(frozen=True)
class _Job:
    plans: Sequence[Planned]
    table: ModelSettings
    pool: Path
    tasks: Mapping[str, Path]
    root: Path
    device: str


def finish_runs(
    pool: Examples,
    table: ModelSettings,
    planned: Sequence[Planned],
    tasks: Mapping[str, Examples],
    *,
    workers: int | None,
    workspace: Workspace,
) -> list[Finished]:
    """Train and measure what is missing of `planned`, `workers` at once; then every run, in the order planned."""
    check_trainable(pool, table, tasks)
    missing = [plan for plan in planned if not is_artifact(place_of(pool, table, plan.run, workspace))]
    jobs = [
        _Job(group, table, pool.artifact.path, _paths(tasks), workspace.root, workspace.device)
        for group in grouped(pool, table, missing, workers, workspace)
    ]
    where = {"workers": workers, "executor": workspace.executor, "device": workspace.device}
    with workspace.progress.task("reference runs", len(planned)) as advance:
        advance(len(planned) - len(missing))
        for position, _ in run_jobs(_run_job, jobs, **where):
            advance(len(jobs[position].plans))
    return list(_runs(pool, table, planned, tasks, Workspace(workspace.root, workspace.device, SILENT)))


def _runs(
    pool: Examples,
    table: ModelSettings,
    planned: Iterable[Planned],
    tasks: Mapping[str, Examples],
    workspace: Workspace,
) -> Iterator[Finished]:
    hashes = {name: examples.content_hash for name, examples in tasks.items()}
    for plan in planned:
        run = plan.run
        model = train_run(pool, table, run, workspace)
        out = workspace.place(run.name.replace("reference", "evaluations", 1), model.content_hash, hashes)
        yield Finished(plan, model, measure(model, tasks, out=out, workspace=workspace))


def _run_job(job: _Job) -> None:
    pool, workspace = open_examples(job.pool), Workspace(job.root, job.device, SILENT)
    train_group(pool, job.table, [plan.run for plan in job.plans], workspace)
    list(_runs(pool, job.table, job.plans, {name: open_examples(path) for name, path in job.tasks.items()}, workspace))


def _paths(tasks: Mapping[str, Examples]) -> dict[str, Path]:
    return {name: examples.artifact.path for name, examples in tasks.items()}
