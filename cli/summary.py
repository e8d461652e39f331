"""The end of a study: its report, its result as JSON, and what a person reads in the terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from thresher.artifacts import LIBRARIES, Artifact, atomic_file, library_version
from thresher.cli.pipeline import StudyResult
from thresher.cli.report.content import (
    Choice,
    Example,
    Model,
    NoisyLabels,
    Report,
    Reproduction,
    Results,
    Stage,
    histogram_of,
)
from thresher.cli.report.render import write_report
from thresher.cli.study import Study
from thresher.cli.study_file import study_text
from thresher.cli.validation import read_runs
from thresher.cli.workspace import Workspace
from thresher.selection.comparison import Run
from thresher.selection.selection import open_selection

NUM_SHOWN = 8


def finish(
    study: Study, result: StudyResult, space: Workspace, *, command: str, flips: NoisyLabels | None = None
) -> dict[str, Any]:
    """Write `report.html` (with `report.json`, which replays it), `study.toml` and `result.json`; return the result."""
    with atomic_file(space.root / "study.toml") as file:
        file.write_text(study_text(study), encoding="utf-8")
    page = space.root / "report.html"
    report = make_report(study, result, command, flips)
    write_report(report, page)
    facts = result.validation.facts
    summary = {
        "report": str(page.resolve()),
        "arms": facts["arms"],
        "paired": facts["paired"],
        "seconds": {stage.name: stage.seconds for stage in report.stages},
        "wall_seconds": result.wall_seconds,
        "num_parameters": {
            "proxy": result.proxies[0].facts["num_parameters"],
            "reference": facts["num_parameters"],
        },
        "num_selected": facts["num_examples"],
        "num_pool": len(result.prepared.pool),
        **(
            {"flipped_labels": {"auc": flips.auc, "low": flips.low, "high": flips.high, "num_flipped": flips.num_noisy}}
            if flips
            else {}
        ),
        "artifacts": {name: str(artifact.path) for name, artifact in _artifacts(result).items()},
    }
    with atomic_file(space.root / "result.json") as file:
        file.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return summary


def make_report(study: Study, result: StudyResult, command: str, flips: NoisyLabels | None) -> Report:
    """The study's numbers, as the report page takes them."""
    runs = read_runs(result.validation.path)
    as_run = [(row["off_target"], Run(row["arm"], row["seed"], row["task"], row["loss"])) for row in runs]
    return Report(
        title=study.name,
        settings=_settings(study, result),
        choice=_choice(study, result),
        results=Results(
            runs=[run for off_target, run in as_run if not off_target],
            off_target=[run for off_target, run in as_run if off_target],
            chosen=study.select.method,
        ),
        models=_models(study, result),
        stages=_stages(result),
        noisy_labels=flips,
        reproduction=Reproduction(
            command=command,
            study=study_text(study),
            versions={name: library_version(name) or "missing" for name in LIBRARIES},
        ),
        notes=_notes(result),
    )


def show(result: Mapping[str, Any]) -> str:
    """What a person reads when a study has ended."""
    lines = paired_lines(result["paired"])
    if "flipped_labels" in result:
        found = result["flipped_labels"]
        interval = f"{found['auc']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        lines.append(f"flipped labels found: area under the curve {interval}")
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in result["seconds"].items())
    lines.append(f"seconds: {seconds}; this run {result['wall_seconds']:.1f}")
    return "\n".join([*lines, f"report: {result['report']}"])


def paired_lines(paired: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each arm's held-out loss minus the baseline's, a line a task."""
    lines = [
        "held-out loss minus that of random data of the same size (95 % interval, paired seeds; negative is better)"
    ]
    for row in paired:
        side = " (off target)" if row["off_target"] else ""
        lines.append(
            f"  {row['arm']:<14}{row['task'] + side:<28}"
            f"{row['mean']:+.4f}  [{row['low']:+.4f}, {row['high']:+.4f}]  n={row['n']}"
        )
    return lines


def _artifacts(result: StudyResult) -> dict[str, Artifact]:
    named = {
        "pool": result.prepared.pool.artifact,
        **{f"proxy {m}": proxy for m, proxy in enumerate(result.proxies)},
        "features": result.features[0] if result.features else None,
        "scores": result.scores,
        "index": result.index,
        **{f"selection {name}": artifact for name, artifact in result.selections.items()},
        "validation": result.validation,
    }
    return {name: artifact for name, artifact in named.items() if artifact is not None}


def _settings(study: Study, result: StudyResult) -> dict[str, str]:
    prepared, proxy, reference, table = result.prepared, study.proxy, study.reference, study.attribution
    pool = prepared.pool.artifact.facts
    size = f"{pool['num_examples']:,} examples" + (f", {pool['num_tokens']:,} tokens" if "num_tokens" in pool else "")
    facts = result.validation.facts
    epochs = f"{facts['epochs']:g}" if facts["epochs"] else "the task's default"
    seen = facts["tokens_seen"].values()
    unit = "tokens" if study.task == "language" else "images"
    return {
        "Pool": size,
        "Targets": ", ".join(
            f"{name} ({len(examples):,} examples to select for, {len(prepared.heldout[name]):,} held out)"
            for name, examples in prepared.targets.items()
        ),
        "Proxies": f"{proxy.count} of size {proxy.size}, each on a random {proxy.fraction:.0%} of the pool",
        "Attribution": f"TRAK, {table.projection} projection to k = {table.k}, backend {table.backend}",
        "Selection": f"{study.select.method}, {study.select.fraction:.0%} of the pool",
        "Reference": f"size {reference.size}, {reference.seeds} paired seeds",
        "Proxy to reference": f"1 to {_total(facts) / _total(result.proxies[0].facts):.1f} in parameters",
        "Training": f"every arm on {facts['num_examples']:,} examples, epochs: {epochs}; {unit} seen: "
        + (f"{min(seen):,}" if min(seen) == max(seen) else f"{min(seen):,} to {max(seen):,}"),
        "Machine": f"{result.proxies[0].facts['device']}, {torch.get_num_threads()} threads",
        "Seed": str(study.seed),
    }


def _total(facts: Mapping[str, Any]) -> int:
    return facts["num_parameters"]["total"]


def _choice(study: Study, result: StudyResult) -> Choice:
    artifact = result.selections[study.select.method]
    selection, pool = open_selection(artifact.path), result.prepared.pool
    scores = np.empty(len(pool))
    for table in (selection.kept, selection.dropped):
        scores[table["position"].to_numpy()] = table["score"].to_numpy()
    order = np.argsort(-scores, kind="stable")
    shares = artifact.facts["domain_shares"]
    return Choice(
        method=study.select.method,
        num_pool=len(pool),
        num_kept=artifact.facts["num_kept"],
        seed=study.seed,
        domain_shares=shares if len(shares) > 1 else {},
        top=_examples(result, order[:NUM_SHOWN], scores),
        bottom=_examples(result, order[: -NUM_SHOWN - 1 : -1], scores),
        histogram=histogram_of(scores, selection.positions),
    )


def _examples(result: StudyResult, rows: np.ndarray, scores: np.ndarray) -> list[Example]:
    pool = result.prepared.pool
    return [
        Example(
            id=pool.ids[int(row)],
            text=pool.preview(int(row)),
            score=float(scores[row]),
            domain=str(pool.domains[row]),
            image=pool.picture(int(row)),
        )
        for row in rows
    ]


def _models(study: Study, result: StudyResult) -> list[Model]:
    validation, proxies = result.validation.facts, result.proxies
    return [
        Model(
            name="proxy",
            parameters=proxies[0].facts["num_parameters"]["total"],
            count=len(proxies),
            flops=float(np.mean([proxy.facts["flops"] for proxy in proxies])),
            seconds=float(np.mean([proxy.facts["seconds"] for proxy in proxies])),
        ),
        Model(
            name="reference",
            parameters=validation["num_parameters"]["total"],
            count=validation["num_runs"],
            flops=validation["flops"] / validation["num_runs"],
            seconds=validation["train_seconds"] / validation["num_runs"],
        ),
    ]


def _stages(result: StudyResult) -> list[Stage]:
    """What each stage cost when its artefacts were made, in this run or before."""
    prepared, validation = result.prepared, result.validation.facts
    examples = [prepared.pool, *prepared.targets.values(), *prepared.heldout.values()]
    made = {
        "prepare": [one.artifact for one in [*examples, *([prepared.off_target] if prepared.off_target else [])]],
        "train": result.proxies,
        "featurize": result.features,
        "score": [result.scores],
        "index": [result.index] if result.index else [],
        "select": list(result.selections.values()),
        "validate": [result.validation],
    }
    flops = _flops(result)
    stages = []
    for name, artifacts in made.items():
        seconds = sum(artifact.facts["seconds"] for artifact in artifacts)
        if name == "validate":
            seconds += validation["train_seconds"] + validation["evaluate_seconds"]
        cached, selects = not any(artifact.built for artifact in artifacts), name not in ("validate", "index")
        stages.append(
            Stage(name=name, seconds=round(seconds, 3), flops=flops.get(name), cached=cached, selects=selects)
        )
    return [stage for stage in stages if made[stage.name]]


def _flops(result: StudyResult) -> dict[str, float]:
    """Of each stage that counts. Featurising is a forward and a backward pass, like training; scoring builds and
    factors a k x k kernel a checkpoint and multiplies the pool by one vector a target."""
    pool, proxies = len(result.prepared.pool), result.proxies
    flops = {"prepare": 0.0, "select": 0.0, "validate": float(result.validation.facts["flops"])}
    flops["train"] = float(sum(proxy.facts["flops"] for proxy in proxies))
    if result.features:
        num_examples = pool + sum(len(examples) for examples in result.prepared.targets.values())
        an_example = sum(proxy.facts["flops"] / proxy.facts["num_examples_seen"] for proxy in proxies)
        flops["featurize"] = num_examples * an_example
        k, num_targets = result.scores.facts["k"], len(result.prepared.targets)
        flops["score"] = len(proxies) * (2.0 * pool * k * (k + num_targets) + k**3)
    return flops


def _notes(result: StudyResult) -> list[str]:
    """What a reader should be warned of."""
    skipped = result.prepared.pool.artifact.facts.get("skipped")
    left_out = ", ".join(f"{count:,} documents ({why})" for why, count in (skipped or {}).items())
    return [f"Left out of the pool: {left_out}."] if left_out else []
