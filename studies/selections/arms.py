"""The selections of a study: its method and every control, at one budget."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thresher.artifacts import Artifact
from thresher.attribution.features.store import FeatureStore
from thresher.seeds import derive
from thresher.selection.budget import Budget
from thresher.selection.methods import needs_no_model, stages_of
from thresher.selection.select import check_spec
from thresher.studies.preparation import Prepared
from thresher.studies.selections.evidence import Sources, check_unit, select_from
from thresher.studies.study import BASELINE, Study
from thresher.workspace import Workspace


def select_arms(
    study: Study,
    prepared: Prepared,
    proxies: Sequence[Artifact],
    scores: Artifact,
    features: FeatureStore | None,
    target_features: Mapping[str, FeatureStore],
    workspace: Workspace,
) -> dict[str, Artifact]:
    """A selection for the study's method and each control; random data is drawn anew for each reference seed, so it is
    one selection a seed (`random/0`, `random/1`, ...). What several ask for is made once."""
    learnt = Sources(
        workspace=workspace,
        pool=prepared.pool,
        targets=prepared.targets,
        models=[str(proxy.path) for proxy in proxies],
        scores=scores,
        features=features,
        target_features=target_features,
        weights=_weights(study),
        table=study.attribution,
        seed=study.seed,
    )
    made = select_ahead(study, prepared, workspace)
    evidence, budget = learnt.evidence(study.seed), budget_of(study)
    for name, method, seed in _arms(study):
        if name not in made:
            made[name] = select_from(
                learnt,
                method,
                out=workspace.place(f"selections/{name}", budget, learnt.weights, learnt.inputs, seed),
                seed=seed,
                evidence=evidence.with_seed(seed),
                **budget,
            )
    return {name: made[name] for name, _, _ in _arms(study)}


def select_ahead(study: Study, prepared: Prepared, workspace: Workspace) -> dict[str, Artifact]:
    """The selections that take no model; of the others what can be refused is refused, before a proxy is trained."""
    plain = Sources(
        workspace=workspace, pool=prepared.pool, targets=prepared.targets, weights=_weights(study), seed=study.seed
    )
    evidence, budget = plain.evidence(study.seed), budget_of(study)
    made = {}
    for name, method, seed in _arms(study):
        if needs_no_model(stages_of(method)):
            out = workspace.place(f"selections/{name}", budget, plain.weights, plain.inputs, seed)
            made[name] = select_from(plain, method, out=out, seed=seed, evidence=evidence.with_seed(seed), **budget)
        else:
            check_unit(method, plain, study.select.tokens)
            check_spec(method, evidence.with_seed(seed), **budget)
    return made


def budget_of(study: Study) -> dict[str, Any]:
    table = study.select
    return {"fraction": table.fraction} if table.tokens is None else {"tokens": table.tokens}


def amount_of(study: Study, prepared: Prepared) -> int:
    """The budget in tokens (images): what every arm holds at least, and is trained on."""
    return Budget(**budget_of(study)).of(prepared.pool.lengths()).total


def _arms(study: Study) -> Iterator[tuple[str, str, int]]:
    """(name of the selection, its method, its seed)."""
    for method in dict.fromkeys([study.select.method, *study.validate.controls, BASELINE]):
        for repeat in range(study.reference.seeds if method == BASELINE else 1):
            yield (
                f"{method}/{repeat}" if method == BASELINE else method,
                method,
                derive(study.seed, method, repeat) % 2**31,
            )


def _weights(study: Study) -> dict[str, float]:
    return {name: table.weight for name, table in study.target.items()}
