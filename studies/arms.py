"""The arms of a study, trained and compared: the reference on each, and the proxy's size beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from thresher.artifacts import Artifact
from thresher.data.examples import Examples
from thresher.selection.selection import open_selection
from thresher.studies.experiments.training_sets import TrainingSet, plan_trials
from thresher.studies.experiments.transfer import Ladder, compare_sizes
from thresher.studies.experiments.validation import ValidationPlan, run_reference, validate
from thresher.studies.preparation import Prepared
from thresher.studies.selections.select import amount_of
from thresher.studies.study import OFF_TARGET, Study, asks_for_trust
from thresher.workspace import Workspace


def arms_of(selections: Mapping[str, Sequence[Artifact]]) -> list[TrainingSet]:
    """The ways to choose that are compared, from the selections of a study."""
    return [
        TrainingSet.of(method, *[open_selection(selection.path).positions for selection in of_method])
        for method, of_method in selections.items()
    ]


def plan_of(study: Study, prepared: Prepared, costs: Mapping[str, float]) -> ValidationPlan:
    """What the validation of a study trains, all of it known before anything is."""
    return ValidationPlan(
        num_seeds=study.reference.seeds,
        budget=amount_of(study, prepared),
        random_budgets=study.validate.random_budgets,
        costs=costs,
        workers=study.validate.workers,
        average=study.validate.average if asks_for_trust(study) else 1,
    )


def validate_study(
    study: Study, prepared: Prepared, arms: Sequence[TrainingSet], cost: float | None, workspace: Workspace
) -> Artifact:
    """Train the reference on every arm and compare; `cost` is what the study's own method took."""
    plan = plan_of(study, prepared, {} if cost is None else {study.select.method: cost})
    return validate(
        prepared.pool,
        arms,
        prepared.heldout,
        off_targets(prepared),
        model=study.reference,
        plan=plan,
        seed=study.seed,
        workspace=workspace,
    )


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
            {**prepared.heldout, **off_targets(prepared)},
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


def off_targets(prepared: Prepared) -> dict[str, Examples]:
    """What measures losses beside the targets: the part of the pool that was held out, where there is one."""
    return {OFF_TARGET: prepared.off_target} if prepared.off_target else {}
