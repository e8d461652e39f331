"""Does the selection help the larger reference? Train it on every arm from paired seeds; compare held-out losses."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.data.examples import Examples, ImageExamples
from thresher.errors import InputError
from thresher.proxies.costs import units_seen
from thresher.proxies.evaluation import means
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_trainable
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.trials import Trial, TrialResult, planned, run_trials
from thresher.selection.statistics.comparison import POOLED
from thresher.studies.experiments.learned import little_learned, ngram_losses, on_random_data
from thresher.studies.experiments.training_sets import TrainingSet, held_by, plan_trials, random_set
from thresher.studies.experiments.validation_facts import compare
from thresher.studies.report.charts import learning_curve, standalone
from thresher.studies.study import BASELINE
from thresher.workspace import Workspace

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ValidationPlan:
    """What is trained beside the arms, and what choosing them cost."""

    num_seeds: int = 3
    budget: int | None = None
    """Tokens (images) of an epoch, the same for every arm; None: what the smallest arm holds."""
    random_budgets: Sequence[float] = ()
    """Random data of so many times the budget as well, for the compute multiplier; with size 1 at least 3."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """arm -> FLOPs of choosing its data."""
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""
    average: int = 1
    """Models are measured at so many of their last steps too, for a verdict on proxies; the losses that are compared
    here are those at the end."""


def validate(
    pool: Examples,
    arms: Sequence[TrainingSet],
    targets: Mapping[str, Examples],
    off_targets: Mapping[str, Examples],
    *,
    model: ModelSettings,
    plan: ValidationPlan,
    seed: int,
    workspace: Workspace,
) -> Artifact:
    """Train `model` on each arm from `plan.num_seeds` paired seeds and measure it on `targets` and `off_targets`.

    Every arm is trained on exactly the same number of tokens (images) and steps, whatever it holds: an epoch is
    `plan.budget` of them, or what the smallest arm holds, and of an arm with more it leaves out the end of each epoch's
    random order. The facts say what arms hold. A seed fixes the initialisation, whichever the arm. All that can be
    refused is refused before anything is trained. Returns an artefact of kind "validation": `runs.parquet` (arm, seed,
    task, off_target, loss, correct, bits_per_byte, flops, seen), `learning_curve.svg`, and the facts of `compare`:
    means, paired differences to random data, places and, with `plan.random_budgets`, compute multipliers.
    Every run is an artefact of its own, so a killed validation continues with the first missing run.
    """
    lengths = np.asarray(pool.lengths())
    held = held_by(arms, lengths, plan.num_seeds)
    smallest = min((min(amounts) for amounts in held.values()), default=0)
    plan = plan if plan.budget is not None else replace(plan, budget=smallest)
    assert plan.budget is not None
    check_plan([arm.name for arm in arms], plan, pool, targets, off_targets)
    check_length(model, plan)
    if smallest < plan.budget:
        raise InputError(f"an arm holds {smallest:,}, less than the budget of {plan.budget:,}; pass a smaller budget")
    check_trainable(pool, model, {**targets, **off_targets})
    trials = _plan(arms, plan, plan.budget, seed)
    for times in _others(plan):
        size = _times(times, plan.budget, lengths)
        more = random_set(lengths, size, num_repeats=plan.num_seeds, seed=seed, name=f"{BASELINE} x {times:g}")
        trials += _plan([more], plan, size, seed)
    tasks = {**targets, **off_targets}
    to_train = planned_reference(pool, model, trials, workspace, LastSteps.of(tasks, plan.average))
    say_planned([to_train], pool, workers=plan.workers, workspace=workspace)
    results = run_reference(
        pool,
        model,
        sorted(trials, key=lambda trial: trial.repeat),
        tasks,
        workers=plan.workers,
        workspace=workspace,
        average=plan.average,
    )
    inputs = {result.trial.name: result.evaluation.content_hash for result in results}
    config = {
        "model": model.record,
        "arms": [arm.name for arm in arms],
        "targets": list(targets),
        "off_targets": list(off_targets),
        "num_seeds": plan.num_seeds,
        "budget": plan.budget,
        "random_budgets": list(plan.random_budgets),
        "costs": dict(plan.costs),
    }

    def write(draft: Draft) -> Mapping[str, Any]:
        rows = [
            {
                "arm": result.trial.training_set,
                "seed": result.trial.repeat,
                "off_target": task in off_targets,
                **row,
                "flops": result.model.facts["flops"],
                "seen": units_seen(result.model),
            }
            for result in results
            for task, row in means(result.evaluation, tasks).items()
        ]
        with draft.file("runs.parquet") as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
        with draft.file("learning_curve.svg") as file:
            of_targets = [row for row in rows if not row["off_target"]]
            file.write_text(standalone(learning_curve(of_targets)), encoding="utf-8")
        facts = compare(rows, [arm.name for arm in arms], plan.costs)
        about = {"unit": unit_of(pool), "budget": plan.budget, "held": {arm: _spread(h) for arm, h in held.items()}}
        num_examples = {arm.name: float(np.mean([len(draw.positions) for draw in arm.draws])) for arm in arms}
        about |= {"num_examples": num_examples, "ngrams": ngram_losses(pool, targets)}
        return {**facts, **about, **_costs(results, pool, model, list(held))}

    artifact = build(
        workspace.place("validation", inputs, config, seed),
        kind="validation",
        config=config,
        seed=seed,
        inputs=inputs,
        write=write,
    )
    losses = on_random_data(read_runs(artifact.path))
    if (little := little_learned(losses, artifact.facts.get("ngrams", {}))) is not None:
        LOGGER.warning(little)
    return artifact


def run_reference(
    pool: Examples,
    model: ModelSettings,
    trials: Sequence[Trial],
    tasks: Mapping[str, Examples],
    *,
    workers: int | None,
    workspace: Workspace,
    average: int = 1,
) -> list[TrialResult]:
    """The results of a reference's trials; those of one name, data and seed are found again by every study here.

    `average` as in `run_trials`.
    """
    trials, where = _of_reference(trials), {"workers": workers, "workspace": workspace, "average": average}
    return run_trials(pool, model, trials, tasks, label=f"runs of {model.size}", **where)


def planned_reference(
    pool: Examples,
    model: ModelSettings,
    trials: Sequence[Trial],
    workspace: Workspace,
    last: LastSteps | None = None,
) -> Planned:
    """Those of a reference's trials that `run_reference` has to train, for `say_planned`."""
    return planned(pool, model, _of_reference(trials), workspace, last)


def _of_reference(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, folder="reference") for trial in trials]


def _plan(arms: Sequence[TrainingSet], plan: ValidationPlan, budget: int, seed: int) -> list[Trial]:
    return plan_trials(arms, plan.num_seeds, budget=budget, seed=seed, stream="reference")


def read_runs(validation: Path) -> list[dict[str, Any]]:
    """The rows of `runs.parquet`."""
    return pq.read_table(open_artifact(validation, "validation").file("runs.parquet")).to_pylist()


def unit_of(pool: Examples) -> str:
    """What a budget of this pool is counted in."""
    return "images" if isinstance(pool, ImageExamples) else "tokens"


def _others(plan: ValidationPlan) -> list[float]:
    """How many times the budget random data is trained on as well."""
    return [times for times in dict.fromkeys(plan.random_budgets) if times != 1]


def _times(times: float, budget: int, lengths: Int[np.ndarray, "n"]) -> int:
    """A multiple of the budget; the pool where it goes beyond it by no more than the budget was rounded."""
    wanted, supply = round(times * budget), int(lengths.sum())
    if not wanted - times <= supply or wanted < 1:
        raise InputError(
            f"a random budget of {times:g} times {budget:,} is {wanted:,}, but the pool has {supply:,}; pass smaller "
            "budgets, or select less"
        )
    return min(wanted, supply)


def _spread(amounts: Sequence[int]) -> dict[str, float]:
    return {"mean": float(np.mean(amounts)), "smallest": min(amounts), "largest": max(amounts)}


def _costs(results: Sequence[TrialResult], pool: Examples, model: ModelSettings, arms: Sequence[str]) -> dict[str, Any]:
    facts = [result.model.facts for result in results]
    seen = {result.trial.training_set: units_seen(result.model) for result in results}
    assert len({units_seen(result.model) for result in results if result.trial.training_set in arms}) == 1, (
        "arms saw different amounts"
    )
    config = train_config_of(model, spec_of(model, pool), pool)
    measuring = sum(result.evaluation.facts["seconds"] for result in results)
    return {
        "num_runs": len(results),
        "training": results[0].training,
        "num_parameters": facts[0]["num_parameters"],
        "epochs": config.epochs if config.num_tokens is None else None,
        "tokens_seen": seen,
        "flops": sum(fact["flops"] for fact in facts),
        "train_seconds": round(sum(fact["seconds"] for fact in facts), 3),
        "evaluate_seconds": round(measuring, 3),
    }


def check_length(model: ModelSettings, plan: ValidationPlan) -> None:
    """Refuse budgets of random data for a model whose tokens are fixed."""
    if plan.random_budgets and model.tokens_per_parameter is not None:
        raise InputError(
            f"random budgets {list(plan.random_budgets)} change how long a model trains, and tokens_per_parameter="
            f"{model.tokens_per_parameter:g} fixes it; leave one of them out"
        )


def check_plan(
    arms: Sequence[str],
    plan: ValidationPlan,
    pool: Examples,
    targets: Mapping[str, Examples],
    off_targets: Mapping[str, Examples],
) -> None:
    """Refuse a plan that cannot be carried out or says nothing; it takes the names of the arms and no selection."""
    taken = next((name for name in off_targets if name in targets), None)
    taken = taken or next((name for name in (*targets, *off_targets) if name == POOLED), None)
    if taken is not None:
        raise InputError(f"the name {taken!r} stands for something else already; give every target a name of its own")
    if not targets:
        raise InputError("no target to measure on; give at least one held-out target")
    if BASELINE not in arms or len(arms) < 2:
        raise InputError(f"arms {[*arms]} cannot be compared; give {BASELINE!r} and at least one other")
    if any(times <= 0 or not np.isfinite(times) for times in plan.random_budgets):
        raise InputError(
            f"random budgets {list(plan.random_budgets)} must be above 0; pass positive multiples, such as 0.5 2 4"
        )
    curve = [f"{BASELINE} x {times:g}" for times in _others(plan)]
    if len(set(curve)) < len(curve):
        raise InputError(f"random budgets {list(plan.random_budgets)} agree to six digits; leave one of them out")
    if clash := [name for name in arms if name in curve]:
        raise InputError(f"the arm {clash[0]!r} has the name of a budget of random data; give it another")
    if plan.num_seeds < 2:
        raise InputError(f"{plan.num_seeds} seed gives no interval; pass at least 2")
    if unknown := [name for name in plan.costs if name not in arms]:
        raise InputError(f"a cost is given for {unknown[0]!r}, which is no arm; the arms are: {', '.join(arms)}")
    if plan.random_budgets and len({1.0, *plan.random_budgets}) < 3:
        raise InputError(
            f"random budgets {list(plan.random_budgets)} and 1 are {len({1.0, *plan.random_budgets})} amounts; "
            "a compute multiplier needs 3, such as 0.5 1 2 4"
        )
    if plan.budget is not None:
        for times in _others(plan):
            _times(times, plan.budget, np.asarray(pool.lengths()))
