"""Selections from sources: one by a spec, and all that a study compares, its method and every control."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.artifacts import Artifact
from thresher.attribution.features.store import FeatureStore
from thresher.errors import InputError
from thresher.seeds import run_seed
from thresher.selection.budget import Budget
from thresher.selection.choosing import check_spec, select_by
from thresher.selection.evidence import Evidence
from thresher.selection.methods import needs_no_model, stages_of
from thresher.selection.selection import write_selection
from thresher.studies.preparation import Prepared
from thresher.studies.selections.evidence import evidence_of
from thresher.studies.selections.sources import Sources
from thresher.studies.study import BASELINE, Study
from thresher.workspace import Workspace


def select_from(
    sources: Sources,
    spec: str,
    *,
    out: Path,
    seed: int,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
    evidence: Evidence | None = None,
) -> Artifact:
    """The selection artefact of `spec` at `out`; several selections may share one `evidence` (of the same seed)."""
    budget = {"fraction": fraction, "count": count, "tokens": tokens}
    given = {} if sources.embeddings is None else {"embeddings": sources.embeddings}
    check_unit(spec, sources, tokens)
    return write_selection(
        lambda: select_by(spec, evidence or evidence_of(sources, seed), **budget),
        sources.ids,
        sources.domains,
        out=out,
        method=spec,
        config={**budget, "targets": list(sources.only), "weights": sources.weights, **given},
        seed=seed,
        inputs=sources.inputs,
        lengths=sources.lengths,
        numbered_by=sources.numbered_by,
    )


def check_unit(spec: str, sources: Sources, tokens: int | None) -> None:
    """Images have no tokens."""
    asked = tokens or next((stage.values["tokens"] for stage in stages_of(spec) if "tokens" in stage.values), None)
    if asked is not None and sources.holds_images:
        raise InputError(f"{asked} tokens asked for, but the pool holds images; pass a count or a fraction of them")


def select_arms(
    study: Study,
    prepared: Prepared,
    proxies: Sequence[Artifact],
    scores: Artifact,
    features: FeatureStore | None,
    target_features: Mapping[str, FeatureStore],
    workspace: Workspace,
) -> dict[str, list[Artifact]]:
    """Method -> its selections, for the study's method and each control.

    One selection for all seeds; random data is drawn anew for each seed of the reference. What several methods ask
    for is made once.
    """
    learnt = Sources(
        workspace=workspace,
        pool=prepared.pool,
        targets=prepared.targets,
        models=[str(proxy.path) for proxy in proxies],
        scores=scores,
        features=features,
        target_features=target_features,
        weights=_weights(study),
        embeddings=study.select.embeddings,
        table=study.attribution,
        seed=study.seed,
    )
    made = select_ahead(study, prepared, workspace)
    evidence, budget = evidence_of(learnt, study.seed), budget_of(study)
    named = [learnt.embeddings] if learnt.embeddings else []
    selections: dict[str, list[Artifact]] = {}
    for method, repeat, seed in _selections(study):
        selection = made.get((method, repeat)) or select_from(
            learnt,
            method,
            out=workspace.place(f"selections/{method}-{repeat}", budget, learnt.weights, learnt.inputs, seed, *named),
            seed=seed,
            evidence=evidence.with_seed(seed),
            **budget,
        )
        selections.setdefault(method, []).append(selection)
    return selections


def select_ahead(study: Study, prepared: Prepared, workspace: Workspace) -> dict[tuple[str, int], Artifact]:
    """(method, repeat) -> the selections that take no model.

    Of the others what can be refused is refused, before a proxy is trained.
    """
    plain = Sources(
        workspace=workspace, pool=prepared.pool, targets=prepared.targets, weights=_weights(study), seed=study.seed
    )
    evidence, budget = evidence_of(plain, study.seed), budget_of(study)
    made = {}
    for method, repeat, seed in _selections(study):
        if needs_no_model(stages_of(method)):
            out = workspace.place(f"selections/{method}-{repeat}", budget, plain.weights, plain.inputs, seed)
            own = {"seed": seed, "evidence": evidence.with_seed(seed), **budget}
            made[method, repeat] = select_from(plain, method, out=out, **own)
        else:
            check_unit(method, plain, study.select.tokens)
            check_spec(method, evidence.with_seed(seed), **budget)
    return made


def budget_of(study: Study) -> dict[str, Any]:
    """The study's budget as `select_from` takes it."""
    table = study.select
    return {"fraction": table.fraction} if table.tokens is None else {"tokens": table.tokens}


def amount_of(study: Study, prepared: Prepared) -> int:
    """The budget in tokens (images): what every arm holds at least, and is trained on."""
    return Budget(**budget_of(study)).of(prepared.pool.lengths()).total


def _selections(study: Study) -> Iterator[tuple[str, int, int]]:
    """(method, repeat, seed) of every selection."""
    for method in dict.fromkeys([study.select.method, *study.validate.controls, BASELINE]):
        for repeat in range(study.reference.seeds if method == BASELINE else 1):
            yield method, repeat, run_seed(study.seed, method, repeat)


def _weights(study: Study) -> dict[str, float]:
    return {name: table.weight for name, table in study.target.items()}
