"""The loop, as plain functions: train proxies, featurise, score, index, select, validate, report.

The commands call these; so can you:

    study = read_study("study.toml")
    result = run_study(study, Workspace(Path("runs/study")))
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thresher.artifacts import Artifact
from thresher.attribution.features.store import open_features
from thresher.attribution.scoring.traker_backend import check_traker
from thresher.executors.workers import num_workers
from thresher.progress import staged
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.trainable import check_distinct, check_trainable
from thresher.proxies.trials import planned
from thresher.studies.arms import (
    arms_of,
    off_targets,
    plan_of,
    trust_study,
    validate_study,
)
from thresher.studies.experiments.validation import check_length, check_plan
from thresher.studies.preparation import Prepared, prepare
from thresher.studies.selections.select import amount_of, select_ahead, select_arms
from thresher.studies.stages import (
    POOL,
    featurize_study,
    index_study,
    proxy_trials,
    score_by_scorer,
    score_by_traker,
    score_study,
    study_cost,
    train_proxies,
    traker_options,
)
from thresher.studies.study import BASELINE, Study, asks_for_trust, num_arms_of
from thresher.studies.study_check import check_study, idle_settings
from thresher.workspace import Workspace

log = logging.getLogger(__name__)


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
    for name, value in idle_settings(study).items():
        log.warning("attribution.%s = %r has no effect in this study", name, value)
    start, table, seed = time.perf_counter(), study.attribution, study.seed
    with staged(num_stages(study), workspace.progress) as stage:
        with stage("preparing"):
            prepared = prepare(study, workspace)
            check_prepared(study, prepared, workspace)
        say_study(study, prepared, workspace)
        pool, targets = prepared.pool, prepared.targets
        with stage("proxies", study.proxy.count) as trained:
            proxies = train_proxies(pool, study.proxy, seed=seed, workspace=workspace, trained=trained)
        stores, index = {}, None
        if table.scorer != "trak":
            with stage("scores"):
                scores = score_by_scorer(proxies, prepared, study, workspace)
        elif table.backend == "thresher":
            with stage("features"):
                stores = featurize_study(proxies, pool, targets, table, seed, workspace)
            with stage("scores"):
                scores = score_study(stores, table, workspace)
                index = index_study(stores[POOL], table, workspace)
        else:
            with stage("scores"):
                scores = score_by_traker(proxies, prepared, study, workspace)
        opened = {name: open_features(artifact.path) for name, artifact in stores.items()}
        with stage("selections"):
            selections = select_arms(study, prepared, proxies, scores, opened.pop(POOL, None), opened, workspace)
        cost = study_cost(study, prepared, proxies, scores) if table.backend == "thresher" else None
        arms, trust = arms_of(selections), None
        with stage("validation"):
            validation = validate_study(study, prepared, arms, cost, workspace)
        if asks_for_trust(study):
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
    pool, tasks = prepared.pool, {**prepared.heldout, **off_targets(prepared)}
    names = [study.select.method, *study.validate.controls, BASELINE]
    plan = plan_of(study, prepared, {})
    check_trainable(pool, study.proxy, prepared.targets)
    check_plan(names, plan, pool, prepared.heldout, off_targets(prepared))
    budget, least = amount_of(study, prepared), min([1.0, *plan.random_budgets])
    check_trainable(pool, study.reference, tasks, average=plan.average, budget=round(least * budget))
    if asks_for_trust(study):
        check_distinct(pool, (study.proxy, study.reference))
        check_trainable(pool, study.proxy, tasks, average=plan.average, budget=budget)
    if study.attribution.backend == "traker":
        asked = traker_options(study)
        check_traker(pool, k=asked["k"], projection=asked["projection"], damping=asked["damping"])
    num_workers(study.validate.workers, workspace.device, workspace.executor)
    check_length(study.reference, plan)
    select_ahead(study, prepared, workspace)


def say_study(study: Study, prepared: Prepared, workspace: Workspace) -> None:
    """Log what the trainings of a study take, before the first of its proxies is trained."""
    pool, epoch = prepared.pool, float(amount_of(study, prepared))
    proxies = planned(pool, study.proxy, proxy_trials(pool, study.proxy, study.seed), workspace)
    if not proxies.units:
        return  # it goes on; what is left is said by each stage
    num_arms, seeds = num_arms_of(study), study.reference.seeds
    others = [epoch * times for times in study.validate.random_budgets if times != 1]
    reference = Planned(study.reference, ([epoch] * num_arms + others) * seeds)
    trust = [Planned(study.proxy, [epoch] * (num_arms * seeds))] if asks_for_trust(study) else []
    say_planned([proxies, reference, *trust], pool, workers=study.validate.workers, workspace=workspace)


def num_stages(study: Study) -> int:
    """How many stages `run_study` has: preparing, proxies, (features,) scores, selections, validation (and trust)."""
    has_features = study.attribution.scorer == "trak" and study.attribution.backend == "thresher"
    return 5 + has_features + asks_for_trust(study)
