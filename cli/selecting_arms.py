"""The selections of a study: its method and every control, at one budget."""

from collections.abc import Mapping, Sequence
from typing import Any

from thresher.artifacts import Artifact
from thresher.attribution.features import FeatureStore
from thresher.cli.preparation import Prepared
from thresher.cli.selecting import Sources, select_from
from thresher.cli.study import BASELINE, Study
from thresher.cli.workspace import Workspace
from thresher.seeds import derive


def select_arms(
    study: Study,
    prepared: Prepared,
    proxies: Sequence[Artifact],
    scores: Artifact,
    features: FeatureStore | None,
    target_features: Mapping[str, FeatureStore],
    space: Workspace,
) -> dict[str, Artifact]:
    """A selection for the study's method and each control; random data is drawn anew for each reference seed, so it is
    one selection a seed (`random/0`, `random/1`, ...). What several ask for is made once."""
    sources = Sources(
        space=space,
        pool=prepared.pool,
        targets=prepared.targets,
        models=[str(proxy.path) for proxy in proxies],
        scores=scores,
        features=features,
        target_features=target_features,
        weights={name: table.weight for name, table in study.target.items()},
        table=study.attribution,
        seed=study.seed,
    )
    table, evidence = study.select, sources.evidence(study.seed)
    budget: dict[str, Any] = {"fraction": table.fraction} if table.tokens is None else {"tokens": table.tokens}
    selections: dict[str, Artifact] = {}
    for method in dict.fromkeys([table.method, *study.validate.controls, BASELINE]):
        for repeat in range(study.reference.seeds if method == BASELINE else 1):
            seed = derive(study.seed, method, repeat) % 2**31
            name = f"{method}/{repeat}" if method == BASELINE else method
            selections[name] = select_from(
                sources,
                method,
                out=space.place(f"selections/{name}", budget, sources.weights, sources.inputs, seed),
                seed=seed,
                evidence=evidence.with_seed(seed),
                **budget,
            )
    return selections
