"""Runs on mixtures: exact shares of a pool's tokens, trained and evaluated several at once, each run an artefact."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thresher.data.examples import Examples, ImageExamples, open_examples
from thresher.errors import InputError
from thresher.places import own_file
from thresher.progress import SILENT, Progress
from thresher.proxies.costs import units_seen
from thresher.proxies.evaluation import means
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Trial, TrialResult, run_trials
from thresher.selection.mixture.design import Plan
from thresher.selection.mixture.table import MixtureTable, make_table
from thresher.studies.experiments.training_sets import check_domains
from thresher.workspace import Workspace


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


def mixture_trial(
    pool: Examples, mixture: str, repeat: int, shares: Mapping[str, float], *, budget: int, seed: int
) -> Trial:
    """A trial on `budget` tokens (images) of the whole pool, of which each domain gives its share.

    Two trials with the same seed see the same passes over each domain, as far as their shares go, so that paired
    trials differ less. Raises InputError for a domain that the pool does not have.
    """
    check_domains(np.asarray(pool.domains), shares)
    return Trial(mixture, repeat, seed % 2**31, np.arange(len(pool)), budget, shares)


def run_mixtures(
    trials: Sequence[Trial], bench: Bench, *, workers: int | None, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Train and measure all trials, and return the facts of each, in their order; finished ones are only opened.

    Facts are `losses` by target, `flops`, `seen` (tokens, or images), `seconds` of training and measuring together,
    `num_parameters`, and `training`, how it was trained. Raises InputError, before anything is trained, for targets
    that the model cannot read or that were prepared with another tokenizer.
    """
    targets = {name: open_examples(path) for name, path in bench.targets.items()}
    workspace = Workspace(bench.root, bench.device, progress, bench.executor)
    pool, where = open_examples(bench.pool), {"workers": workers, "workspace": workspace}
    return [_facts(result) for result in run_trials(pool, bench.model, trials, targets, label="runs", **where)]


def _facts(result: TrialResult) -> dict[str, Any]:
    model = result.model.facts
    return {
        "losses": {task: row["loss"] for task, row in means(result.evaluation).items()},
        "flops": model["flops"],
        "seen": units_seen(result.model),
        "seconds": model["seconds"] + result.evaluation.facts["seconds"],
        "num_parameters": model["num_parameters"],
        "training": result.training,
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
    with own_file(out) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            weights, losses = (row["weights"][d] for d in domains), (row["losses"][t] for t in targets)
            writer.writerow([row["run"], row["data"], *weights, *losses, row["flops"], row["seconds"]])


def write_plan(plan: Plan, out: Path) -> None:
    """Write a plan as a CSV file: run, data (relative to the base run), and the weights."""
    sizes = plan.amounts.sum(axis=1) / len(plan.domains)
    with own_file(out) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "data", *(f"weight_{domain}" for domain in plan.domains)])
        rows = zip(sizes.tolist(), plan.weights.tolist(), strict=True)
        writer.writerows([number, size, *weights] for number, (size, weights) in enumerate(rows))
