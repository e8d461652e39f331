"""Does a proposed mixture help the reference model? Train it and the baselines from paired seeds, and compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build
from thresher.canonical import hash_json
from thresher.data.examples import open_examples
from thresher.errors import InputError
from thresher.intervals import interval
from thresher.progress import SILENT, Progress
from thresher.proxies.planned import say_planned
from thresher.proxies.trials import planned
from thresher.seeds import derive
from thresher.selection.mixture.baselines import natural, uniform
from thresher.selection.statistics.comparison import Measurement, compare_arms
from thresher.studies.experiments.training_sets import supply
from thresher.studies.mixtures.runs import Bench, mixture_trial, run_budget, run_mixtures
from thresher.studies.report.content import Model, Report, Reproduction, Results
from thresher.studies.report.render import render
from thresher.workspace import Workspace

BASELINES = ("natural", "uniform", "best-observed")
"""Mixtures that every proposal is compared with; the best observed one only where a proposal names it."""

Mixtures = dict[str, dict[str, float]]
"""Name of a mixture -> domain -> share."""


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """How much each model is trained, and from how many seeds."""

    tokens: int | None = None
    """Tokens that each run trains on; None: what `examples` hold."""
    examples: int = 8000
    """Images that each run trains on; of text, what so many average documents hold."""
    seeds: int = 3
    """Paired seeds that every mixture is trained from."""
    seed: int = 0


def validate_mixtures(
    bench: Bench,
    proposals: Mapping[str, Path],
    settings: ValidationSettings,
    *,
    command: str,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """An artefact of kind "mixture-validation": `runs.parquet` (arm, seed, task, loss) and `report.html`.

    `proposals` are files `mixture.json`, or their folders. The natural and the uniform mixture join them, and the best
    observed one if a proposal names it. `command` is the line that the page gives to replay this. Raises InputError for
    fewer than 2 seeds and for files that are no proposals.
    """
    if settings.seeds < 2:
        raise InputError(f"{settings.seeds} seed gives no interval; pass at least 2")
    pool = open_examples(bench.pool)
    tokens, budget = supply(pool), run_budget(pool, settings.tokens, settings.examples)
    mixtures, domains = read_mixtures(proposals), list(tokens)
    mixtures["natural"] = dict(zip(domains, natural(domains, tokens).tolist(), strict=True))
    mixtures["uniform"] = dict(zip(domains, uniform(len(domains)).tolist(), strict=True))
    trials = [
        mixture_trial(pool, name, repeat, shares, budget=budget, seed=derive(settings.seed, "reference", repeat))
        for repeat in range(settings.seeds)
        for name, shares in mixtures.items()
    ]
    workspace = Workspace(bench.root, bench.device, progress, bench.executor)
    say_planned([planned(pool, bench.model, trials, workspace)], pool, workers=workers, workspace=workspace)
    facts = run_mixtures(trials, bench, workers=workers, progress=progress)
    runs = [
        Measurement(trial.training_set, trial.repeat, task, loss)
        for trial, facts_of_run in zip(trials, facts, strict=True)
        for task, loss in facts_of_run["losses"].items()
    ]
    return _write(runs, mixtures, facts, bench, settings, command)


def read_mixtures(paths: Mapping[str, Path]) -> Mixtures:
    """The weights of each proposal, and the best observed mixture of the first proposal that has one.

    Raises InputError for a file that is missing or is no proposal, and for a name that stands for a baseline.
    """
    mixtures: Mixtures = {}
    best_observed: dict[str, float] | None = None
    for name, path in paths.items():
        if name in BASELINES:
            raise InputError(f"--mixtures {name!r} stands for a baseline; give the proposal another name")
        file = path / "mixture.json" if path.is_dir() else path
        try:
            proposal = json.loads(file.read_text(encoding="utf-8"))
            mixtures[name] = {domain: float(share) for domain, share in proposal["weights"].items()}
            observed = (proposal.get("baselines") or {}).get("best observed")
        except FileNotFoundError:
            raise InputError(f"{file} does not exist; give the mixture.json of `thresher mix ... --out`") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            raise InputError(f"{file} is no proposal; give the mixture.json of `thresher mix ... --out`") from None
        best_observed = best_observed or observed
    return mixtures if best_observed is None else {**mixtures, "best-observed": best_observed}


def compare_mixtures(runs: Sequence[Measurement], mixtures: Sequence[str]) -> dict[str, Any]:
    """Every mixture's mean losses, and the differences of the proposals to each baseline.

    `arms`: mixture -> task -> mean loss with its interval; `paired`: a row a proposal, baseline and task, the loss of
    the proposal minus that of the baseline, seed by seed.
    """
    losses: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        losses.setdefault(run.arm, {}).setdefault(run.task, []).append(run.loss)
    means = {
        name: {task: asdict(interval(np.array(values))) for task, values in tasks.items()}
        for name, tasks in losses.items()
    }
    proposals = [name for name in mixtures if name not in BASELINES]
    paired = []
    for baseline in (name for name in BASELINES if name in losses):
        compared = [run for run in runs if run.arm in (*proposals, baseline)]
        for line in compare_arms(compared, baseline=baseline):
            difference = asdict(line.difference)
            paired.append({"arm": line.arm, "baseline": baseline, "task": line.task, **difference})
    return {"arms": means, "paired": paired}


def _write(
    runs: Sequence[Measurement],
    mixtures: Mixtures,
    facts: Sequence[Mapping[str, Any]],
    bench: Bench,
    settings: ValidationSettings,
    command: str,
) -> Artifact:
    model = bench.model
    config = {
        "mixtures": mixtures,
        "model": model.size,
        "tokens": settings.tokens,
        "examples": settings.examples,
        "seeds": settings.seeds,
        "batch_size": model.batch_size,
        "learning_rate": model.learning_rate,
        "optimizer": model.optimizer,
    }
    rows = [asdict(run) for run in runs]
    inputs = {"losses": hash_json(rows)}

    def write(draft: Draft) -> dict[str, Any]:
        with draft.file("runs.parquet") as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
        with draft.file("report.html") as file:
            file.write_text(_page(runs, mixtures, facts, command), encoding="utf-8")
        return {
            **compare_mixtures(runs, list(mixtures)),
            "num_parameters": facts[0]["num_parameters"],
            "num_runs": len(facts),
            "training": facts[0]["training"],
            "seen": facts[0]["seen"],
            "flops": sum(run["flops"] for run in facts),
            "train_seconds": round(sum(run["seconds"] for run in facts), 3),
        }

    out = Workspace(bench.root).place("validation", config, inputs, settings.seed)
    return build(out, kind="mixture-validation", config=config, seed=settings.seed, inputs=inputs, write=write)


def _page(runs: Sequence[Measurement], mixtures: Mixtures, facts: Sequence[Mapping[str, Any]], command: str) -> str:
    count = len(facts)
    model = Model(
        name="reference",
        parameters=facts[0]["num_parameters"]["total"],
        count=count,
        flops=sum(run["flops"] for run in facts) / count,
        seconds=sum(run["seconds"] for run in facts) / count,
    )
    shares = {
        name: ", ".join(f"{domain} {share:.3f}" for domain, share in weights.items() if share > 0)
        for name, weights in mixtures.items()
    }
    budget = f"{facts[0]['seen']:,} tokens (images), one seed's draws shared"
    return render(
        Report(
            title="Mixtures on the reference",
            settings=shares,
            results=Results(runs=list(runs), chosen=next(iter(mixtures)), baseline="natural", budget=budget),
            models=[model],
            reproduction=Reproduction(command=command),
        )
    )
