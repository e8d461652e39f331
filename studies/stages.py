"""The stages of a study up to its scores: proxies, features, scores, index, and what these cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from thresher.artifacts import Artifact
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.scoring import traker_backend
from thresher.attribution.scoring.index import build_index
from thresher.attribution.scoring.scores import score
from thresher.data.examples import Examples
from thresher.proxies.costs import selection_flops
from thresher.proxies.models.weights import loaders_of
from thresher.proxies.trials import Trial, train_trial, train_trials
from thresher.scorers import Work, effort_of
from thresher.seeds import run_seed
from thresher.selection.evidence import FROM_MODELS
from thresher.selection.methods import needs_of
from thresher.studies.experiments.training_sets import random_parts
from thresher.studies.preparation import Prepared
from thresher.studies.scoring.basis import Basis, attribution_of
from thresher.studies.scoring.effort import say_effort
from thresher.studies.scoring.score import score_by
from thresher.studies.study import AttributionTable, ProxyTable, Study
from thresher.workspace import Workspace

POOL = ".pool"
"""Stands beside the targets' names, which are TOML keys or folder names chosen by a person."""


def train_proxies(
    pool: Examples,
    table: ProxyTable,
    *,
    seed: int,
    workspace: Workspace,
    trained: Callable[[int], None] = lambda done: None,
) -> list[Artifact]:
    """`table.count` proxies, each on its own random part of the pool's tokens and from its own initialisation.

    `trained` is called with how many were just done.
    """
    trials = proxy_trials(pool, table, seed)
    if workspace.executor != "processes":
        return train_trials(pool, table, trials, label="proxies", workers=None, workspace=workspace)
    proxies = []
    for trial in trials:  # one after another, all cores on each
        proxies.append(train_trial(pool, table, trial, workspace))
        trained(1)
    return proxies


def proxy_trials(pool: Examples, table: ProxyTable, seed: int) -> list[Trial]:
    """What each proxy is trained on, and from which seed."""
    parts = random_parts(pool, table.fraction, num=table.count, seed=seed, name="proxy")
    return [Trial("proxy", m, run_seed(seed, "proxy", m), *part, folder="proxies") for m, part in enumerate(parts)]


def featurize_study(
    models: Sequence[Artifact],
    pool: Examples,
    targets: Mapping[str, Examples],
    table: AttributionTable,
    seed: int,
    workspace: Workspace,
) -> dict[str, Artifact]:
    """The feature stores of the pool (under the name POOL) and of each target, under all `models`."""
    loaders = loaders_of([str(model.path) for model in models], pool, *targets.values())
    options = {"projection": table.projection, "k": table.k, "output": table.output, "views": table.views}

    def place_of(name: str, examples: Examples) -> Path:
        made_from = ([model.content_hash for model in models], examples.content_hash, options, seed)
        return workspace.place(f"features/{name.lstrip('.')}", *made_from)

    basis = Basis([model.path for model in models], pool, attribution_of(table, seed), workspace, loaders=loaders)
    say_effort("trak", basis, num_targets=len(targets), out=place_of(POOL, pool))

    def store(name: str, examples: Examples) -> Artifact:
        return featurize(
            loaders,
            examples,
            out=place_of(name, examples),
            seed=seed,
            device=workspace.device,
            progress=workspace.progress,
            executor=workspace.executor,
            **options,
        )

    return {name: store(name, examples) for name, examples in {POOL: pool, **targets}.items()}


def score_study(stores: Mapping[str, Artifact], table: AttributionTable, workspace: Workspace) -> Artifact:
    """The scores of the pool for each target, from what `featurize_study` gives."""
    hashes = {name: artifact.content_hash for name, artifact in stores.items()}
    features = {name: open_features(artifact.path) for name, artifact in stores.items()}
    return score(
        features.pop(POOL),
        features,
        out=workspace.place("scores", hashes, list(features), table.damping, table.q),
        damping=table.damping,
        q=table.q,
        progress=workspace.progress,
    )


def score_by_scorer(proxies: Sequence[Artifact], prepared: Prepared, study: Study, workspace: Workspace) -> Artifact:
    """The scores of the pool for each target by the study's scorer, from the models themselves."""
    table, pool = study.attribution, prepared.pool
    indices = [trial.indices for trial in proxy_trials(pool, study.proxy, study.seed)]
    settings = attribution_of(table, study.seed)
    basis = Basis([proxy.path for proxy in proxies], pool, settings, workspace, indices=indices)
    hashes = {name: examples.content_hash for name, examples in prepared.targets.items()}
    out = workspace.place(f"scores-{table.scorer}", basis.inputs, hashes, list(hashes), asdict(settings))
    return score_by(table.scorer, basis, prepared.targets, out=out)


def score_by_traker(proxies: Sequence[Artifact], prepared: Prepared, study: Study, workspace: Workspace) -> Artifact:
    """The same scores from the `traker` package."""
    pool, targets, options = prepared.pool, prepared.targets, traker_options(study)
    made_from = (
        [proxy.content_hash for proxy in proxies],
        pool.content_hash,
        {name: examples.content_hash for name, examples in targets.items()},
    )
    return traker_backend.score_with_traker(
        loaders_of([str(proxy.path) for proxy in proxies], pool, *targets.values()),
        pool,
        targets,
        out=workspace.place("scores-traker", made_from, list(targets), options, study.seed),
        seed=study.seed,
        progress=workspace.progress,
        **options,
    )


def traker_options(study: Study) -> dict[str, Any]:
    """What `score_with_traker` takes of a study's `[attribution]`."""
    table = study.attribution
    return traker_backend.traker_options(k=table.k, projection=table.projection, damping=table.damping, q=table.q)


def index_study(features: Artifact, table: AttributionTable, workspace: Workspace) -> Artifact:
    """The FAISS index over the pool's features."""
    return build_index(
        open_features(features.path),
        out=workspace.place("index", features.content_hash, table.damping, table.q),
        damping=table.damping,
        q=table.q,
        progress=workspace.progress,
    )


def looks_at_models(study: Study) -> bool:
    """Whether the study's own method looks at what the proxies say."""
    return bool(set(needs_of(study.select.method)) & FROM_MODELS)


def study_cost(study: Study, prepared: Prepared, proxies: Sequence[Artifact], scores: Artifact) -> float:
    """FLOPs of models that the study's selection took: of all stages up to scores, or 0 where it looks at none."""
    if not looks_at_models(study):
        return 0.0
    costs = selection_costs(study.attribution.scorer, prepared, proxies, scores.facts.get("k"))
    return sum(costs.values())


def selection_costs(scorer: str, prepared: Prepared, proxies: Sequence[Artifact], k: int | None) -> dict[str, float]:
    """FLOPs of a selection by stage; k: features of an example, None where none were made (by us)."""
    work = Work(num_examples=len(prepared.pool), num_targets=len(prepared.targets))
    effort: dict[str, Any] = {} if scorer == "trak" else effort_of(scorer, work)
    return selection_flops(proxies, pool=prepared.pool, targets=prepared.targets, k=k, **effort)
