"""Runs on mixtures: exact shares of a pool, trained and evaluated, several processes at once, each run an artefact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int

from thresher.cli.measure import measure
from thresher.cli.study import ModelTable
from thresher.cli.training import train_model
from thresher.cli.workspace import Workspace
from thresher.data.examples import Examples, open_examples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.proxies import model_spec
from thresher.proxies.fits import check_all
from thresher.proxies.fleet import run_jobs
from thresher.proxies.order import apportion
from thresher.seeds import derive, numpy_rng


@dataclass(frozen=True)
class MixtureRun:
    """One run to make: shares of the domains, how many examples in all, and the seed it shares with its pairs."""

    name: str
    weights: Mapping[str, float]
    num_examples: int
    seed: int


@dataclass(frozen=True)
class Bench:
    """What every run of one study shares; plain enough to be sent to another process."""

    pool: Path
    targets: Mapping[str, Path]
    model: ModelTable
    root: Path
    device: str = "auto"
    executor: str = "processes"


def draw_mixture(
    domains: np.ndarray, weights: Mapping[str, float], num_examples: int, *, seed: int
) -> Int[np.ndarray, "n"]:
    """Positions in a pool whose examples have `domains`: exact shares, each domain in passes without replacement.

    Two mixtures with one seed share their examples as far as their shares overlap, so that paired runs differ less.
    """
    wanted = {name: np.flatnonzero(domains == name) for name, share in weights.items() if share > 0}
    if missing := [name for name, members in wanted.items() if not len(members)]:
        known = ", ".join(np.unique(domains).tolist())
        raise InputError(f"the pool has no example of domain {missing[0]!r}; its domains are {known}")
    counts = apportion({name: float(weights[name]) for name in wanted}, wanted, num_examples)
    drawn = []
    for (name, members), count in zip(wanted.items(), counts, strict=True):
        turns = [
            numpy_rng(seed, "mixture", name, turn).permutation(members) for turn in range(-(-count // len(members)))
        ]
        drawn.append(np.concatenate([members[:0], *turns])[:count])
    return np.sort(np.concatenate(drawn))


def supply(pool: Examples) -> dict[str, int]:
    """Tokens (images: examples) of each domain of a pool; refuses a pool without domains."""
    names, place = np.unique(pool.domains, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"{pool.artifact.path} has fewer than 2 domains, nothing to mix; prepare it with --domain")
    totals = np.bincount(place, weights=pool.lengths())
    return {str(name): int(total) for name, total in zip(names, totals, strict=True)}


def make_runs(
    runs: Sequence[MixtureRun], bench: Bench, *, workers: int | None, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """The facts of each run, as `make_run` gives them. A run that is there already is only opened.

    Targets that the model cannot read, or reads with another tokenizer, are refused before anything is trained.
    """
    spec = model_spec(bench.model.size, open_examples(bench.pool))
    check_all(spec, map(open_examples, (bench.pool, *bench.targets.values())))
    found: dict[int, dict[str, Any]] = {}
    work = partial(make_run, bench)
    with progress.task("runs", len(runs)) as advance:
        for position, facts in run_jobs(work, runs, workers=workers, executor=bench.executor, device=bench.device):
            found[position] = facts
            advance(1)
    return [found[position] for position in range(len(runs))]


def make_run(bench: Bench, run: MixtureRun) -> dict[str, Any]:
    """Train and evaluate one run, or open what is there.

    `losses` by target, `flops`, `seen` (tokens, or images), `seconds` of both, `num_parameters`.
    """
    space = Workspace(bench.root, bench.device)
    pool = open_examples(bench.pool)
    targets = {name: open_examples(path) for name, path in bench.targets.items()}
    indices = draw_mixture(pool.domains, run.weights, run.num_examples, seed=derive(run.seed, "data"))
    model = train_model(pool, bench.model, f"models/{run.name}", seed=run.seed % 2**31, indices=indices, space=space)
    hashes = {name: examples.content_hash for name, examples in targets.items()}
    out = space.place(f"evaluations/{run.name}", model.content_hash, hashes)
    evaluation = measure(model, targets, out=out, space=space)
    table = pq.read_table(evaluation.file("losses.parquet"), columns=["task", "loss"])
    means = table.group_by("task", use_threads=False).aggregate([("loss", "mean")]).to_pylist()
    facts = model.facts
    return {
        "losses": {row["task"]: row["loss_mean"] for row in means},
        "flops": facts["flops"],
        "seen": facts.get("num_tokens_seen", facts["num_examples_seen"]),
        "seconds": facts["seconds"] + evaluation.facts["seconds"],
        "num_parameters": facts["num_parameters"],
    }
