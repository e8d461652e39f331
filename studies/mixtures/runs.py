"""Runs on mixtures: exact shares of a pool's tokens, trained and evaluated, several processes at once, each run an
artefact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from thresher.data.examples import Examples, ImageExamples, open_examples
from thresher.errors import InputError
from thresher.executors.jobs import run_jobs
from thresher.progress import SILENT, Progress
from thresher.proxies.costs import units_seen
from thresher.proxies.evaluation import measure
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Trial, check_trainable, train_trial
from thresher.studies.experiments.training_sets import check_domains
from thresher.workspace import Workspace


@dataclass(frozen=True)
class MixtureRun:
    """One run to make: shares of the domains, how many tokens (images) in all, the seed it shares with its pairs."""

    name: str
    weights: Mapping[str, float]
    budget: int
    seed: int


@dataclass(frozen=True)
class Bench:
    """What every run of one study shares; plain enough to be sent to another process."""

    pool: Path
    targets: Mapping[str, Path]
    model: ModelSettings
    root: Path
    device: str = "auto"
    executor: str = "processes"


def make_runs(
    runs: Sequence[MixtureRun], bench: Bench, *, workers: int | None, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """The facts of each run, as `make_run` gives them. A run that is there already is only opened.

    Targets that the model cannot read, or reads with another tokenizer, are refused before anything is trained.
    """
    pool = open_examples(bench.pool)
    check_trainable(pool, bench.model, {name: open_examples(path) for name, path in bench.targets.items()})
    for run in runs:
        check_domains(np.asarray(pool.domains), run.weights)
    found: dict[int, dict[str, Any]] = {}
    work = partial(make_run, bench)
    with progress.task("runs", len(runs)) as advance:
        for position, facts in run_jobs(work, runs, workers=workers, executor=bench.executor, device=bench.device):
            found[position] = facts
            advance(1)
    return [found[position] for position in range(len(runs))]


def make_run(bench: Bench, run: MixtureRun) -> dict[str, Any]:
    """Train and evaluate one run, or open what is there. Two with one seed see the same passes over each domain, as far
    as their shares go, so that paired runs differ less.

    `losses` by target, `flops`, `seen` (tokens, or images), `seconds` of both, `num_parameters`.
    """
    workspace = Workspace(bench.root, bench.device)
    pool = open_examples(bench.pool)
    targets = {name: open_examples(path) for name, path in bench.targets.items()}
    wanted = Trial(run.name, 0, run.seed % 2**31, np.arange(len(pool)), run.budget, run.weights)
    model = train_trial(pool, bench.model, wanted, workspace)
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
    """Tokens (images) of a run: `tokens`, or what `examples` average ones of the pool hold."""
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
