"""Does the selection help the larger reference? Train it on every arm from paired seeds; compare held-out losses."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.cli.study import BASELINE, ModelTable
from thresher.cli.training import train_model
from thresher.cli.workspace import Workspace
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies import evaluate, open_model
from thresher.seeds import derive, numpy_rng
from thresher.selection.comparison import POOLED, Run, compare_arms, interval


@dataclass(frozen=True)
class Arm:
    """A way to choose the training data: the kept positions, one array for all seeds or one for each."""

    name: str
    choices: Sequence[np.ndarray]

    def positions(self, repeat: int) -> np.ndarray:
        return np.sort(self.choices[repeat % len(self.choices)])


def random_arm(num_pool: int, num_kept: int, *, num_seeds: int, seed: int) -> Arm:
    """Random data, drawn anew for each seed, so that the interval covers the draw too."""
    draws = [numpy_rng(seed, "random", repeat).choice(num_pool, num_kept, replace=False) for repeat in range(num_seeds)]
    return Arm(BASELINE, draws)


def validate(
    pool: Examples,
    arms: Sequence[Arm],
    targets: Mapping[str, Examples],
    off_targets: Mapping[str, Examples],
    *,
    model: ModelTable,
    num_seeds: int,
    seed: int,
    space: Workspace,
) -> Artifact:
    """Train `model` on each arm from `num_seeds` paired seeds and measure it on `targets` and `off_targets`.

    Every arm must keep the same number of examples; all are trained for the same epochs, so for the same tokens. A seed
    fixes the initialisation, whichever the arm. Returns an artefact of kind "validation": `runs.parquet` (arm, seed,
    task, off_target, loss, correct) and, as facts, `arms`, `paired` (arm minus random, with 95 % intervals) and
    `tokens_seen` by each arm (examples, for images).
    Every run is an artefact of its own, so a killed validation continues with the first missing run.
    """
    _check(arms, num_seeds, targets, off_targets)
    tasks = {**targets, **off_targets}
    hashes = {name: examples.content_hash for name, examples in tasks.items()}
    runs: dict[tuple[str, int], Artifact] = {}
    evaluations: dict[tuple[str, int], Artifact] = {}
    with space.progress.task("reference runs", len(arms) * num_seeds) as advance:
        for repeat in range(num_seeds):
            run_seed = derive(seed, "reference", repeat) % 2**31
            for arm in arms:
                name = f"reference/{arm.name}-{repeat}"
                run = train_model(pool, model, name, seed=run_seed, indices=arm.positions(repeat), space=space)
                out = space.place(f"evaluations/{arm.name}-{repeat}", run.content_hash, hashes)
                evaluations[arm.name, repeat] = measure(run, tasks, out=out, space=space)
                runs[arm.name, repeat] = run
                advance(1)
    inputs = {f"{arm}-{repeat}": artifact.content_hash for (arm, repeat), artifact in evaluations.items()}
    config = {
        "model": asdict(model),
        "arms": [arm.name for arm in arms],
        "targets": list(targets),
        "off_targets": list(off_targets),
        "num_seeds": num_seeds,
    }

    def write(draft: Draft) -> Mapping[str, Any]:
        rows = [
            {"arm": arm, "seed": repeat, "off_target": task in off_targets, **row}
            for (arm, repeat), artifact in evaluations.items()
            for task, row in _means(artifact).items()
        ]
        with draft.file("runs.parquet") as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
        measuring = sum(artifact.facts["seconds"] for artifact in evaluations.values())
        costs = {**_costs(runs, model), "evaluate_seconds": round(measuring, 3)}
        return {**compare(rows), **costs, "num_examples": len(arms[0].positions(0))}

    return build(
        space.place("validation", inputs, config, seed),
        kind="validation",
        config=config,
        seed=seed,
        inputs=inputs,
        write=write,
    )


def measure(model: Artifact, tasks: Mapping[str, Examples], *, out: Path, space: Workspace) -> Artifact:
    """Per-example loss and correctness of `model` on each task, an artefact of kind "evaluation"."""

    def write(draft: Draft) -> None:
        network = open_model(model.path)
        tables = []
        for task, examples in tasks.items():
            results = evaluate(network, examples, device=space.device)
            columns = {
                "task": [task] * len(examples),
                "id": examples.ids,
                "loss": results["loss"],
                "correct": results["correct"],
            }
            tables.append(pa.table(columns))
        with draft.file("losses.parquet") as file:
            pq.write_table(pa.concat_tables(tables), file)

    inputs = {
        "model": model.content_hash,
        **{f"task {name}": examples.content_hash for name, examples in tasks.items()},
    }
    return build(out, kind="evaluation", config={}, seed=0, inputs=inputs, write=write)


def compare(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`arms`: arm -> task -> mean loss with its 95 % interval; `paired`: every arm minus random, seed by seed."""
    arms: dict[str, dict[str, Any]] = {}
    for row in rows:
        arms.setdefault(row["arm"], {}).setdefault(row["task"], []).append(row["loss"])
    means = {
        arm: {task: asdict(interval(np.array(losses))) for task, losses in tasks.items()} for arm, tasks in arms.items()
    }
    paired = []
    for off_target in (False, True):
        group = [
            Run(row["arm"], row["seed"], row["task"], row["loss"]) for row in rows if row["off_target"] == off_target
        ]
        if group:
            paired += [
                {
                    "arm": line.arm,
                    "baseline": BASELINE,
                    "task": line.task,
                    "off_target": off_target,
                    **asdict(line.difference),
                    "seeds": list(line.seeds),
                }
                for line in compare_arms(group, baseline=BASELINE)
            ]
    return {"arms": means, "paired": paired}


def read_runs(validation: Path) -> list[dict[str, Any]]:
    """The rows of `runs.parquet`."""
    return pq.read_table(open_artifact(validation, "validation").file("runs.parquet")).to_pylist()


def _means(evaluation: Artifact) -> dict[str, dict[str, Any]]:
    table = pq.read_table(evaluation.file("losses.parquet")).group_by("task", use_threads=False)
    rows = table.aggregate([("loss", "mean"), ("correct", "mean")]).to_pylist()
    return {
        row["task"]: {"task": row["task"], "loss": row["loss_mean"], "correct": row["correct_mean"]} for row in rows
    }


def _costs(runs: Mapping[tuple[str, int], Artifact], model: ModelTable) -> dict[str, Any]:
    facts = [run.facts for run in runs.values()]
    seen = {arm: run.facts.get("num_tokens_seen", run.facts["num_examples_seen"]) for (arm, _), run in runs.items()}
    return {
        "num_runs": len(runs),
        "num_parameters": facts[0]["num_parameters"],
        "epochs": model.epochs,
        "tokens_seen": seen,
        "flops": sum(fact["flops"] for fact in facts),
        "train_seconds": round(sum(fact["seconds"] for fact in facts), 3),
    }


def _check(
    arms: Sequence[Arm], num_seeds: int, targets: Mapping[str, Examples], off_targets: Mapping[str, Examples]
) -> None:
    taken = next((name for name in off_targets if name in targets), None)
    taken = taken or next((name for name in (*targets, *off_targets) if name == POOLED), None)
    if taken is not None:
        raise InputError(f"the name {taken!r} stands for something else already; give every target a name of its own")
    names = [arm.name for arm in arms]
    if BASELINE not in names or len(names) < 2:
        raise InputError(f"arms {names} cannot be compared; give {BASELINE!r} and at least one other")
    if num_seeds < 2:
        raise InputError(f"{num_seeds} seed gives no interval; pass at least 2")
    sizes = {arm.name: len(arm.positions(0)) for arm in arms}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"the arms keep different numbers of examples ({sizes}); select the same number for a fair comparison"
        )
