"""What a report says of the run: its settings, its models, what each stage cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from thresher.studies.loop import StudyResult
from thresher.studies.report.content import Model, Stage
from thresher.studies.stages import selection_costs
from thresher.studies.study import Study


def settings_of(study: Study, result: StudyResult) -> dict[str, str]:
    """What was asked for and on what it ran, by the name that a reader is told."""
    prepared, proxy, reference = result.prepared, study.proxy, study.reference
    pool = prepared.pool.artifact.facts
    size = f"{pool['num_examples']:,} examples" + (f", {pool['num_tokens']:,} tokens" if "num_tokens" in pool else "")
    facts = result.validation.facts
    epochs = f"{facts['epochs']:g}" if facts["epochs"] else "as tokens a parameter say"
    seen = facts["tokens_seen"].values()
    unit = "tokens" if study.task == "language" else "images"
    return {
        "Pool": size,
        "Targets": ", ".join(
            f"{name} ({len(examples):,} examples to select for, {len(prepared.heldout[name]):,} held out)"
            for name, examples in prepared.targets.items()
        ),
        "Proxies": f"{proxy.count} of size {proxy.size}, each on a random {proxy.fraction:.0%} of the pool",
        "Attribution": _attribution(study, result),
        "Selection": f"{study.select.method}, "
        + (
            f"{study.select.tokens:,} tokens"
            if study.select.tokens
            else f"{study.select.fraction:.0%} of the pool's {unit}"
        ),
        "Reference": f"size {reference.size}, {reference.seeds} paired seeds",
        "Proxy to reference": f"1 to {_total(facts) / _total(result.proxies[0].facts):.1f} in parameters",
        "Training": f"every arm on {facts['budget']:,} {unit} an epoch, epochs: {epochs}; {unit} seen: "
        + (f"{min(seen):,}" if min(seen) == max(seen) else f"{min(seen):,} to {max(seen):,}"),
        "Machine": f"{result.proxies[0].facts['device']}, {torch.get_num_threads()} threads",
        "Seed": str(study.seed),
    }


def _attribution(study: Study, result: StudyResult) -> str:
    """The projection as it was made, and how far scores from it are those without one."""
    if result.scorer != "trak":
        return f"scorer {result.scorer}"
    if not result.features:
        return f"TRAK, backend {study.attribution.backend}"
    projection, k = result.features[0].meta["config"]["projection"], result.features[0].facts["k"]
    facts = result.scores.facts
    agreement = facts.get("agreement") or facts.get("agreement_at_most") or {}
    held = ", ".join(f"{name} {value:.2f}" for name, value in agreement.items())
    return f"TRAK, {projection} projection to k = {k:,}" + (
        f"; agreement with scores without projection, {'about' if 'agreement' in facts else 'at most'}: {held}"
        if held
        else ""
    )


def _total(facts: Mapping[str, Any]) -> int:
    return facts["num_parameters"]["total"]


def models_of(study: Study, result: StudyResult) -> list[Model]:
    """The proxy and the reference: how large, how many, what a training took in the mean."""
    validation, proxies = result.validation.facts, result.proxies
    return [
        Model(
            name="proxy",
            parameters=_total(proxies[0].facts),
            count=len(proxies),
            flops=float(np.mean([proxy.facts["flops"] for proxy in proxies])),
            seconds=float(np.mean([proxy.facts["seconds"] for proxy in proxies])),
        ),
        Model(
            name="reference",
            parameters=_total(validation),
            count=validation["num_runs"],
            flops=validation["flops"] / validation["num_runs"],
            seconds=validation["train_seconds"] / validation["num_runs"],
        ),
    ]


def stages_of(result: StudyResult) -> list[Stage]:
    """What each stage cost when its artefacts were made, in this run or before."""
    prepared, validation = result.prepared, result.validation.facts
    examples = [prepared.pool, *prepared.targets.values(), *prepared.heldout.values()]
    made = {
        "prepare": [one.artifact for one in [*examples, *([prepared.off_target] if prepared.off_target else [])]],
        "train": result.proxies,
        "featurize": result.features,
        "score": [result.scores],
        "index": [result.index] if result.index else [],
        "select": [selection for selections in result.selections.values() for selection in selections],
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
    """Of each stage that counts."""
    k = result.scores.facts["k"] if result.features else None
    others = {"prepare": 0.0, "select": 0.0, "validate": float(result.validation.facts["flops"])}
    return others | selection_costs(result.scorer, result.prepared, result.proxies, k)
