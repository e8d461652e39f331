"""The loop, as plain functions: train proxies, featurise, score, index, select, validate, report.

The commands call these; so can you:

    study = read_study("study.toml")
    result = run_study(study, Workspace(Path("runs/study")))
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from thresher.artifacts import Artifact
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.scoring.index import build_index
from thresher.attribution.scoring.scores import score
from thresher.attribution.scoring.traker_backend import score_with_traker
from thresher.data.examples import Examples
from thresher.executors.workers import num_workers
from thresher.progress import staged
from thresher.proxies.costs import selection_flops
from thresher.proxies.models.weights import loaders_of
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.trials import Trial, check_trainable, planned, train_trial, train_trials
from thresher.scorers import Work, effort_of
from thresher.seeds import run_seed
from thresher.selection.evidence import FROM_MODELS
from thresher.selection.methods import needs_of
from thresher.selection.selection import open_selection
from thresher.studies.experiments.training_sets import TrainingSet, plan_trials, random_parts
from thresher.studies.experiments.transfer import Ladder, compare_sizes
from thresher.studies.experiments.validation import ValidationPlan, check_length, check_plan, run_reference, validate
from thresher.studies.preparation import Prepared, prepare
from thresher.studies.scoring.basis import Basis, attribution_of
from thresher.studies.scoring.effort import say_effort
from thresher.studies.scoring.score import score_by
from thresher.studies.selections.select import amount_of, select_ahead, select_arms
from thresher.studies.study import BASELINE, OFF_TARGET, AttributionTable, ProxyTable, Study
from thresher.studies.study_check import check_study
from thresher.workspace import Workspace

POOL = ".pool"
"""Stands beside the targets' names, which are TOML keys or folder names chosen by a person."""


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """Where everything is, and what each stage took."""

    prepared: Prepared
    proxies: Sequence[Artifact]
    features: Sequence[Artifact]
    """Of the pool, then of each target; none with the traker backend."""
    scores: Artifact
    scorer: str
    """What made them."""
    index: Artifact | None
    selections: Mapping[str, Sequence[Artifact]]
    """Of each method: one for all seeds, or one for each."""
    validation: Artifact
    trust: Artifact | None
    """The arms at the proxy's size beside the reference's; None where the study does not ask."""
    wall_seconds: float
    """Of this run; little for what was there already."""


def run_study(study: Study, workspace: Workspace) -> StudyResult:
    """Every stage of `study`, in order, under `workspace`; what is there already is only opened."""
    check_study(study)
    start, table, seed = time.perf_counter(), study.attribution, study.seed
    with staged(num_stages(study), workspace.progress) as stage:
        with stage("preparing"):
            prepared = prepare(study, workspace)
            check_prepared(study, prepared, workspace)
        say_study(study, prepared, workspace)
        pool, targets = prepared.pool, prepared.targets
        with stage("proxies", study.proxy.count) as trained:
            proxies = train_proxies(pool, study.proxy, seed=seed, workspace=workspace, trained=trained)
        if table.scorer != "trak":
            stores, index = {}, None
            with stage("scores"):
                scores = score_by_scorer(proxies, prepared, study, workspace)
        elif table.backend == "thresher":
            with stage("features"):
                stores = featurize_study(proxies, pool, targets, table, seed, workspace)
            with stage("scores"):
                scores = score_study(stores, table, workspace)
                index = index_study(stores[POOL], table, workspace)
        else:
            stores, index = {}, None
            with stage("scores"):
                scores = score_by_traker(proxies, pool, targets, table, seed, workspace)
        opened = {name: open_features(artifact.path) for name, artifact in stores.items()}
        with stage("selections"):
            selections = select_arms(study, prepared, proxies, scores, opened.pop(POOL, None), opened, workspace)
        cost = study_cost(study, prepared, proxies, scores) if table.backend == "thresher" else None
        arms, trust = arms_of(selections), None
        with stage("validation"):
            validation = validate_study(study, prepared, arms, cost, workspace)
        if asks_for_trust(study, len(arms)):
            with stage("trust"):
                trust = trust_study(study, prepared, arms, workspace)
    return StudyResult(
        prepared=prepared,
        proxies=proxies,
        features=list(stores.values()),
        scores=scores,
        scorer=table.scorer,
        index=index,
        selections=selections,
        validation=validation,
        trust=trust,
        wall_seconds=round(time.perf_counter() - start, 3),
    )


def check_prepared(study: Study, prepared: Prepared, workspace: Workspace) -> None:
    """Refuse whatever of `study` can be refused before a model is trained; selections that take none are made."""
    pool, tasks = prepared.pool, {**prepared.heldout, **_off_targets(prepared)}
    for table, examples in ((study.proxy, prepared.targets), (study.reference, tasks)):
        check_trainable(pool, table, examples)
    num_workers(study.validate.workers, workspace.device, workspace.executor)
    names = [study.select.method, *study.validate.controls, BASELINE]
    plan = plan_of(study, prepared, {})
    check_plan(names, plan, pool, prepared.heldout, _off_targets(prepared))
    check_length(study.reference, plan)
    select_ahead(study, prepared, workspace)


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
        out=workspace.place("scores", hashes, table.damping, table.q),
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
    out = workspace.place(f"scores-{table.scorer}", basis.inputs, hashes, asdict(settings))
    return score_by(table.scorer, basis, prepared.targets, out=out)


def score_by_traker(
    models: Sequence[Artifact],
    pool: Examples,
    targets: Mapping[str, Examples],
    table: AttributionTable,
    seed: int,
    workspace: Workspace,
) -> Artifact:
    """The same scores from the `traker` package."""
    made_from = (
        [model.content_hash for model in models],
        pool.content_hash,
        {name: examples.content_hash for name, examples in targets.items()},
    )
    return score_with_traker(
        loaders_of([str(model.path) for model in models], pool, *targets.values()),
        pool,
        targets,
        out=workspace.place("scores-traker", made_from, table.k, seed),
        k=table.k,
        seed=seed,
        progress=workspace.progress,
    )


def index_study(features: Artifact, table: AttributionTable, workspace: Workspace) -> Artifact:
    """The FAISS index over the pool's features."""
    return build_index(
        open_features(features.path),
        out=workspace.place("index", features.content_hash, table.damping, table.q),
        damping=table.damping,
        q=table.q,
        progress=workspace.progress,
    )


def study_cost(study: Study, prepared: Prepared, proxies: Sequence[Artifact], scores: Artifact) -> float:
    """FLOPs of models that the study's selection took: of all stages up to scores, or 0 where it looks at none."""
    if not set(needs_of(study.select.method)) & FROM_MODELS:
        return 0.0
    costs = selection_costs(study.attribution.scorer, prepared, proxies, scores.facts.get("k"))
    return sum(costs.values())


def selection_costs(scorer: str, prepared: Prepared, proxies: Sequence[Artifact], k: int | None) -> dict[str, float]:
    """FLOPs of a selection by stage; k: features of an example, None where none were made (by us)."""
    work = Work(num_examples=len(prepared.pool), num_targets=len(prepared.targets))
    effort: dict[str, Any] = {} if scorer == "trak" else effort_of(scorer, work)
    return selection_flops(proxies, pool=prepared.pool, targets=prepared.targets, k=k, **effort)


def arms_of(selections: Mapping[str, Sequence[Artifact]]) -> list[TrainingSet]:
    """The ways to choose that are compared, from the selections of a study."""
    return [
        TrainingSet.of(method, *[open_selection(selection.path).positions for selection in of_method])
        for method, of_method in selections.items()
    ]


def validate_study(
    study: Study, prepared: Prepared, arms: Sequence[TrainingSet], cost: float | None, workspace: Workspace
) -> Artifact:
    """Train the reference on every arm and compare; `cost` is what the study's own method took."""
    plan = plan_of(study, prepared, {} if cost is None else {study.select.method: cost})
    return validate(
        prepared.pool,
        arms,
        prepared.heldout,
        _off_targets(prepared),
        model=study.reference,
        plan=plan,
        seed=study.seed,
        workspace=workspace,
    )


def plan_of(study: Study, prepared: Prepared, costs: Mapping[str, float]) -> ValidationPlan:
    """What the validation of a study trains, all of it known before anything is."""
    return ValidationPlan(
        num_seeds=study.reference.seeds,
        budget=amount_of(study, prepared),
        random_budgets=study.validate.random_budgets,
        costs=costs,
        workers=study.validate.workers,
        average=study.validate.average if asks_for_trust(study, num_arms_of(study)) else 1,
    )


def say_study(study: Study, prepared: Prepared, workspace: Workspace) -> None:
    """Log what the trainings of a study take, before the first of its proxies is trained."""
    pool, epoch = prepared.pool, float(amount_of(study, prepared))
    proxies = planned(pool, study.proxy, proxy_trials(pool, study.proxy, study.seed), workspace)
    if not proxies.units:
        return  # it goes on; what is left is said by each stage
    num_arms, seeds = num_arms_of(study), study.reference.seeds
    others = [epoch * times for times in study.validate.random_budgets if times != 1]
    reference = Planned(study.reference, ([epoch] * num_arms + others) * seeds)
    trust = [Planned(study.proxy, [epoch] * (num_arms * seeds))] if asks_for_trust(study, num_arms) else []
    say_planned([proxies, reference, *trust], pool, workers=study.validate.workers, workspace=workspace)


def num_stages(study: Study) -> int:
    """How many stages `run_study` has: preparing, proxies, (features,) scores, selections, validation (and trust)."""
    has_features = study.attribution.scorer == "trak" and study.attribution.backend == "thresher"
    return 5 + has_features + asks_for_trust(study, num_arms_of(study))


def num_arms_of(study: Study) -> int:
    """How many ways to choose are compared: the study's own, its controls, and random data."""
    return len({study.select.method, *study.validate.controls, BASELINE})


def asks_for_trust(study: Study, num_arms: int) -> bool:
    """Decisions are judged on three arms or more, and between two sizes."""
    return study.validate.verdict and num_arms > 2 and study.proxy.size != study.reference.size


def trust_study(study: Study, prepared: Prepared, arms: Sequence[TrainingSet], workspace: Workspace) -> Artifact:
    """Every arm trained at the proxy's size too, from the same seeds: would its decisions have held?"""
    budget = amount_of(study, prepared)
    trials = plan_trials(arms, study.reference.seeds, budget=budget, seed=study.seed, stream="reference")
    small = replace(workspace, root=workspace.root / "small")
    tables = {study.proxy.size: study.proxy, study.reference.size: study.reference}
    results = {
        size: run_reference(
            prepared.pool,
            table,
            trials,
            {**prepared.heldout, **_off_targets(prepared)},
            workers=study.validate.workers,
            workspace=small if table is study.proxy else workspace,
            average=study.validate.average,
        )
        for size, table in tables.items()
    }
    return compare_sizes(
        results,
        Ladder(tables=tables),
        [arm.name for arm in arms],
        prepared.heldout,
        seed=study.seed,
        workspace=workspace,
    )


def _off_targets(prepared: Prepared) -> dict[str, Examples]:
    return {OFF_TARGET: prepared.off_target} if prepared.off_target else {}
