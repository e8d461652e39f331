"""What a report says of the run: its settings, its models, what each stage cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from thresher.studies.loop import StudyResult
from thresher.studies.report.content import Model, Stage
from thresher.studies.stages import looks_at_models, selection_costs
from thresher.studies.study import Study


def settings_of(study: Study, result: StudyResult) -> dict[str, str]:
    """What was asked for and on what it ran, by the name that a reader is told."""
    prepared, proxy, reference = result.prepared, study.proxy, study.reference
    pool = prepared.pool.artifact.facts
    size = f"{pool['num_examples']:,} examples" + (f", {pool['num_tokens']:,} tokens" if "num_tokens" in pool else "")
    facts = result.validation.facts
    epochs = f"{facts['epochs']:g}" if facts["epochs"] else "as tokens a parameter say"
    seen = [facts["tokens_seen"][arm] for arm in result.validation.meta["config"]["arms"]]
    unit = "tokens" if study.task == "language" else "images"
    return {
        "Pool": size,
        "Targets": ", ".join(
            f"{name} ({len(examples):,} examples to select for, {len(prepared.heldout[name]):,} held out)"
            for name, examples in prepared.targets.items()
        ),
        "Proxies": f"{proxy.count} of size {proxy.size}, each on a random {_share(proxy.fraction)} of the pool",
        "Attribution": _attribution(study, result),
        "Selection": f"{study.select.method}, "
        + (
            f"{study.select.tokens:,} tokens"
            if study.select.tokens
            else f"{_share(study.select.fraction)} of the pool's {unit}"
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


def _share(part: float) -> str:
    """A share as a percentage, a small one too."""
    return f"{100 * part:.3g} %"


def _total(facts: Mapping[str, Any]) -> int:
    return facts["num_parameters"]["total"]


def models_of(result: StudyResult, runs: Sequence[Mapping[str, Any]]) -> list[Model]:
    """The proxy and the reference: how large, how many, what a training took in the mean.

    `runs` are the rows of the validation. Of the reference those on the arms count, not those on other budgets of
    random data; their time is by their part of all FLOPs.
    """
    validation, proxies = result.validation.facts, result.proxies
    arms = result.validation.meta["config"]["arms"]
    of_arms = {(row["arm"], row["seed"]): row["flops"] for row in runs if row["arm"] in arms}
    flops = float(np.mean(list(of_arms.values())))
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
            count=len(of_arms),
            flops=flops,
            seconds=validation["train_seconds"] * flops / validation["flops"],
        ),
    ]


def stages_of(study: Study, result: StudyResult) -> list[Stage]:
    """What each stage cost when its artefacts were made, in this run or before.

    What models say is no part of a selection that looks at none, and the index is none of any.
    """
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
        "verdict": [result.trust] if result.trust else [],
    }
    flops, selecting = _flops(study, result), {"prepare", "select"}
    selecting |= {"train", "featurize", "score"} if looks_at_models(study) else set()
    stages = []
    for name, artifacts in made.items():
        seconds = sum(artifact.facts["seconds"] for artifact in artifacts)
        if name == "validate":
            seconds += validation["train_seconds"] + validation["evaluate_seconds"]
        if name == "verdict" and result.trust:
            seconds += result.trust.facts["run_seconds"][study.proxy.size] * _verdict_runs(study, result)
        stages.append(
            Stage(
                name=name,
                seconds=round(seconds, 3),
                flops=flops.get(name),
                cached=not any(artifact.built for artifact in artifacts),
                selects=name in selecting,
            )
        )
    return [stage for stage in stages if made[stage.name]]


def _verdict_runs(study: Study, result: StudyResult) -> int:
    """Trainings at the proxy's size: of every arm, from every seed."""
    return len(result.selections) * study.reference.seeds


def _flops(study: Study, result: StudyResult) -> dict[str, float]:
    """Of each stage that counts."""
    k = result.scores.facts["k"] if result.features else None
    others = {"prepare": 0.0, "select": 0.0, "validate": float(result.validation.facts["flops"])}
    if result.trust:
        others["verdict"] = result.trust.facts["flops"][study.proxy.size] * _verdict_runs(study, result)
    return others | selection_costs(result.scorer, result.prepared, result.proxies, k)
