"""Does the selection help the larger reference? Train it on every arm from paired seeds; compare held-out losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.cli.measure import means
from thresher.cli.report.charts import learning_curve, standalone
from thresher.cli.study import BASELINE, ModelTable
from thresher.cli.training import check_models, recipe_of
from thresher.cli.validation_results import compare
from thresher.cli.validation_runs import Finished, Planned, finish_runs
from thresher.cli.workspace import Workspace
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies import model_spec
from thresher.seeds import derive, numpy_rng
from thresher.selection.comparison import POOLED
from thresher.settings import record

# Arms of the same number of tokens: whole sequences may miss a token budget by this share.
TOLERANCE = 0.005


@dataclass(frozen=True)
class Arm:
    """A way to choose the training data: the kept positions, one array for all seeds or one for each."""

    name: str
    choices: Sequence[np.ndarray]

    def positions(self, repeat: int) -> np.ndarray:
        return np.sort(self.choices[repeat % len(self.choices)])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained beside the arms, and what choosing them cost."""

    num_seeds: int = 3
    random_budgets: Sequence[float] = ()
    """Random data of so many times the arms' size as well, for the compute multiplier; with size 1 at least 3."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """arm -> FLOPs of choosing its data."""
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""


def random_arm(num_pool: int, num_kept: int, *, num_seeds: int, seed: int, name: str = BASELINE) -> Arm:
    """Random data, drawn anew for each seed, so that the interval covers the draw too."""
    draws = [numpy_rng(seed, "random", repeat).choice(num_pool, num_kept, replace=False) for repeat in range(num_seeds)]
    return Arm(name, draws)


def validate(
    pool: Examples,
    arms: Sequence[Arm],
    targets: Mapping[str, Examples],
    off_targets: Mapping[str, Examples],
    *,
    model: ModelTable,
    plan: Plan,
    seed: int,
    space: Workspace,
) -> Artifact:
    """Train `model` on each arm from `plan.num_seeds` paired seeds and measure it on `targets` and `off_targets`.

    Every arm must keep the same number of tokens (examples, for images); all are trained for the same epochs. A seed
    fixes the initialisation, whichever the arm. Returns an artefact of kind "validation": `runs.parquet` (arm, seed,
    task, off_target, loss, correct, flops), `learning_curve.svg`, and the facts of `compare`: means, paired differences
    to random data, places and, with `plan.random_budgets`, compute multipliers.
    Every run is an artefact of its own, so a killed validation continues with the first missing run.
    """
    check_models([model], pool, *targets.values(), *off_targets.values())
    _check(arms, plan, pool, targets, off_targets)
    size = len(arms[0].positions(0))
    others = [_budget_arm(times, size, len(pool), plan.num_seeds, seed) for times in plan.random_budgets if times != 1]
    planned = plan_arms([*arms, *others], plan.num_seeds, seed)
    finished = finish_runs(pool, model, planned, {**targets, **off_targets}, workers=plan.workers, space=space)
    inputs = {f"{run.plan.arm}-{run.plan.repeat}": run.evaluation.content_hash for run in finished}
    config = {
        "model": record(model),
        "arms": [arm.name for arm in arms],
        "targets": list(targets),
        "off_targets": list(off_targets),
        "num_seeds": plan.num_seeds,
        "random_budgets": list(plan.random_budgets),
        "costs": dict(plan.costs),
    }

    def write(draft: Draft) -> Mapping[str, Any]:
        rows = [
            {
                "arm": run.plan.arm,
                "seed": run.plan.repeat,
                "off_target": task in off_targets,
                **row,
                "flops": run.model.facts["flops"],
            }
            for run in finished
            for task, row in means(run.evaluation).items()
        ]
        with draft.file("runs.parquet") as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
        with draft.file("learning_curve.svg") as file:
            of_targets = [row for row in rows if not row["off_target"]]
            file.write_text(standalone(learning_curve(of_targets)), encoding="utf-8")
        facts = compare(rows, [arm.name for arm in arms], plan.costs)
        return {**facts, **_costs(finished, pool, model), "num_examples": size}

    return build(
        space.place("validation", inputs, config, seed),
        kind="validation",
        config=config,
        seed=seed,
        inputs=inputs,
        write=write,
    )


def plan_arms(arms: Sequence[Arm], num_seeds: int, seed: int) -> list[Planned]:
    """Seed by seed, a run of every arm."""
    return [
        Planned(arm.name, repeat, derive(seed, "reference", repeat) % 2**31, arm.positions(repeat))
        for repeat in range(num_seeds)
        for arm in arms
    ]


def read_runs(validation: Path) -> list[dict[str, Any]]:
    """The rows of `runs.parquet`."""
    return pq.read_table(open_artifact(validation, "validation").file("runs.parquet")).to_pylist()


def _budget_arm(times: float, size: int, num_pool: int, num_seeds: int, seed: int) -> Arm:
    wanted = round(times * size)
    if not 1 <= wanted <= num_pool:
        raise InputError(
            f"a random budget of {times:g} times the arms' {size:,} examples is {wanted:,}, but the pool has "
            f"{num_pool:,}; pass smaller budgets, or select less"
        )
    return random_arm(num_pool, wanted, num_seeds=num_seeds, seed=seed, name=f"{BASELINE} x {times:g}")


def _costs(finished: Sequence[Finished], pool: Examples, model: ModelTable) -> dict[str, Any]:
    facts = [run.model.facts for run in finished]
    seen = {
        run.plan.arm: run.model.facts.get("num_tokens_seen", run.model.facts["num_examples_seen"]) for run in finished
    }
    recipe = recipe_of(model, model_spec(model.size, pool))
    measuring = sum(run.evaluation.facts["seconds"] for run in finished)
    return {
        "num_runs": len(finished),
        "num_parameters": facts[0]["num_parameters"],
        "epochs": recipe.epochs,
        "tokens_seen": seen,
        "flops": sum(fact["flops"] for fact in facts),
        "train_seconds": round(sum(fact["seconds"] for fact in facts), 3),
        "evaluate_seconds": round(measuring, 3),
    }


def _check(
    arms: Sequence[Arm],
    plan: Plan,
    pool: Examples,
    targets: Mapping[str, Examples],
    off_targets: Mapping[str, Examples],
) -> None:
    taken = next((name for name in off_targets if name in targets), None)
    taken = taken or next((name for name in (*targets, *off_targets) if name == POOLED), None)
    if taken is not None:
        raise InputError(f"the name {taken!r} stands for something else already; give every target a name of its own")
    names = [arm.name for arm in arms]
    if BASELINE not in names or len(names) < 2:
        raise InputError(f"arms {names} cannot be compared; give {BASELINE!r} and at least one other")
    if plan.num_seeds < 2:
        raise InputError(f"{plan.num_seeds} seed gives no interval; pass at least 2")
    if unknown := [name for name in plan.costs if name not in names]:
        raise InputError(f"a cost is given for {unknown[0]!r}, which is no arm; the arms are: {', '.join(names)}")
    if plan.random_budgets and len({1.0, *plan.random_budgets}) < 3:
        raise InputError(
            f"random budgets {list(plan.random_budgets)} and 1 are {len({1.0, *plan.random_budgets})} amounts; "
            "a compute multiplier needs 3, such as 0.5 1 2 4"
        )
    lengths = np.asarray(pool.lengths())
    sizes = {arm.name: int(lengths[arm.positions(0)].sum()) for arm in arms}
    if max(sizes.values()) > (1 + TOLERANCE) * min(sizes.values()):
        raise InputError(
            f"the arms keep different amounts of tokens or images ({sizes}); select the same for a fair comparison"
        )
