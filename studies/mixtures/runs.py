"""Runs on mixtures: exact shares of a pool's tokens, trained and evaluated several at once, each run an artefact."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from thresher.artifacts import atomic_file
from thresher.data.examples import Examples, ImageExamples, open_examples
from thresher.errors import InputError
from thresher.executors.jobs import run_jobs
from thresher.progress import SILENT, Progress
from thresher.proxies.costs import units_seen
from thresher.proxies.evaluation import measure
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Trial, check_trainable, train_trial
from thresher.selection.mixture.design import Plan
from thresher.selection.mixture.table import MixtureTable, make_table
from thresher.studies.experiments.training_sets import check_domains
from thresher.workspace import Workspace


@dataclass(frozen=True)
class MixtureRun:
    """One run to make: which mixture, which repeat of it, and what the model is trained on."""

    mixture: str
    """The name of the mixture, which its repeats share."""
    repeat: int
    weights: Mapping[str, float]
    """The share of each domain."""
    budget: int
    """Tokens (images) in all."""
    seed: int
    """The seed, which runs that are compared pair by pair share."""

    @property
    def name(self) -> str:
        """What the run is called in tables and folders."""
        return f"{self.mixture}-{self.repeat}"


@dataclass(frozen=True)
class Bench:
    """What all runs of one experiment share, plain enough to be sent to another process."""

    pool: Path
    """A prepared pool with domains."""
    targets: Mapping[str, Path]
    """Prepared examples of each target, on which the losses are measured."""
    model: ModelSettings
    root: Path
    """The folder of all artefacts."""
    device: str = "auto"
    executor: str = "processes"


def make_runs(
    runs: Sequence[MixtureRun], bench: Bench, *, workers: int | None, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Train and evaluate all runs and return the facts of each, as `make_run` gives them.

    A run that exists already is only opened. Raises InputError, before anything is trained, for targets that the model
    cannot read or that were prepared with another tokenizer, and for domains that the pool does not have.
    """
    pool = open_examples(bench.pool)
    check_trainable(pool, bench.model, {name: open_examples(path) for name, path in bench.targets.items()})
    for run in runs:
        check_domains(np.asarray(pool.domains), run.weights)
    facts_of: dict[int, dict[str, Any]] = {}
    work = partial(make_run, bench)
    with progress.task("runs", len(runs)) as advance:
        for position, facts in run_jobs(work, runs, workers=workers, executor=bench.executor, device=bench.device):
            facts_of[position] = facts
            advance(1)
    return [facts_of[position] for position in range(len(runs))]


def make_run(bench: Bench, run: MixtureRun) -> dict[str, Any]:
    """Train and evaluate one run, or open it if it exists.

    Returns `losses` by target, `flops`, `seen` (tokens, or images), `seconds` of training and evaluation together, and
    `num_parameters`. Two runs with the same seed see the same passes over each domain, as far as their shares go, so
    that paired runs differ less.
    """
    workspace = Workspace(bench.root, bench.device)
    pool = open_examples(bench.pool)
    targets = {name: open_examples(path) for name, path in bench.targets.items()}
    trial = Trial(run.mixture, run.repeat, run.seed % 2**31, np.arange(len(pool)), run.budget, run.weights)
    model = train_trial(pool, bench.model, trial, workspace)
    hashes = {name: examples.content_hash for name, examples in targets.items()}
    out = workspace.place(f"evaluations/{run.name}", model.content_hash, hashes)
    evaluation = measure(model, targets, out=out, workspace=workspace)
    table = pq.read_table(evaluation.file("losses.parquet"), columns=["task", "loss"])
    means = table.group_by("task", use_threads=False).aggregate([("loss", "mean")]).to_pylist()
    facts = model.facts
    return {
        "losses": {row["task"]: row["loss_mean"] for row in means},
        "flops": facts["flops"],
        "seen": units_seen(model),
        "seconds": facts["seconds"] + evaluation.facts["seconds"],
        "num_parameters": facts["num_parameters"],
    }


def run_budget(pool: Examples, tokens: int | None, examples: int) -> int:
    """The tokens (images) of a run: `tokens`, or what `examples` average examples of the pool hold.

    Raises InputError for counts below 1, and for `tokens` if the pool holds images.
    """
    if isinstance(pool, ImageExamples):
        if tokens is not None:
            raise InputError(f"--tokens {tokens}: the pool holds images; pass --examples")
    elif tokens is not None:
        if tokens < 1:
            raise InputError(f"--tokens {tokens} trains nothing; pass 1 or more")
        return tokens
    if examples < 1:
        raise InputError(f"--examples {examples} trains nothing; pass 1 or more")
    return max(1, round(examples * int(pool.lengths().sum()) / len(pool)))


def table_of(rows: Sequence[Mapping[str, Any]], domains: Sequence[str], targets: Sequence[str]) -> MixtureTable:
    """The finished runs as a checked table of mixtures and losses."""
    weights = np.array([[row["weights"][domain] for domain in domains] for row in rows])
    losses = np.array([[row["losses"][target] for target in targets] for row in rows])
    return make_table(domains, targets, weights, losses)


def write_runs(rows: Sequence[Mapping[str, Any]], domains: Sequence[str], targets: Sequence[str], out: Path) -> None:
    """Write `runs.csv`: run, data (relative to the base run), the weights, the losses, FLOPs and seconds."""
    header = ["run", "data", *(f"weight_{d}" for d in domains), *(f"loss_{t}" for t in targets), "flops", "seconds"]
    with atomic_file(out) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            weights, losses = (row["weights"][d] for d in domains), (row["losses"][t] for t in targets)
            writer.writerow([row["run"], row["data"], *weights, *losses, row["flops"], row["seconds"]])


def write_plan(plan: Plan, out: Path) -> None:
    """Write a plan as a CSV file: run, data (relative to the base run), and the weights."""
    sizes = plan.amounts.sum(axis=1) / len(plan.domains)
    with atomic_file(out) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "data", *(f"weight_{domain}" for domain in plan.domains)])
        rows = zip(sizes.tolist(), plan.weights.tolist(), strict=True)
        writer.writerows([number, size, *weights] for number, (size, weights) in enumerate(rows))
