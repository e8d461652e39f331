"""Small-to-large: train every recipe at every size, and ask which decisions at a small size hold at the reference.

Small-to-Large Generalization (arXiv 2505.16260), section 4: for each test set, the losses that models of one size reach
on every training set, against those of the reference on the same sets.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build
from thresher.canonical import hash_json
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.progress import staged
from thresher.proxies.evaluation import chance_of, means_of, read_evaluation
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_distinct, check_trainable
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.trials import Trial, TrialResult
from thresher.studies.experiments.learned import little_learned, ngram_losses
from thresher.studies.experiments.training_sets import TrainingSet, plan_trials
from thresher.studies.experiments.validation import planned_reference, run_reference
from thresher.studies.report.charts import scatter, standalone
from thresher.workspace import Workspace

COLUMNS = ("size", "recipe", "seed", "step", "test_set", "loss", "bits_per_byte", "correct", "flops")


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Sizes from small to large, the reference last, each with how it is trained."""

    tables: Mapping[str, ModelSettings]

    def __post_init__(self) -> None:
        if len(self.tables) < 2:
            raise InputError("a study of proxies needs a reference and at least one smaller size; pass --sizes")


def transfer(
    pool: Examples,
    recipes: Sequence[TrainingSet],
    test_sets: Mapping[str, Examples],
    ladder: Ladder,
    *,
    budget: int,
    seed: int,
    workers: int | None,
    workspace: Workspace,
    average: int = 1,
) -> Artifact:
    """Train every size on every recipe (one draw a repeat), `budget` tokens or images an epoch, and measure all
    on `test_sets`, at the end and with `average` above 1 at so many of the last steps.

    An artefact of kind "transfer": `losses.csv` (COLUMNS), which `thresher study from-table` reads too;
    `per_sample.parquet` (size, test_set, id, r2): how well the losses of each example at that size go with those at the
    reference, over recipes, at the end; `scatter-SIZE.svg`. Repeat r of every recipe and size shares a seed. Each run
    is an artefact of its own, so a killed study trains nothing again.
    """
    check_distinct(pool, ladder.tables.values())
    for table in ladder.tables.values():
        check_trainable(pool, table, test_sets)
    trials = plan_recipes(recipes, seed, budget)
    to_train = planned_ladder(pool, ladder.tables, trials, workspace, LastSteps.of(test_sets, average))
    say_planned(to_train, pool, workers=workers, workspace=workspace)
    training = {"workers": workers, "workspace": workspace, "average": average}
    results = run_ladder(pool, ladder.tables, trials, test_sets, **training)
    names = [recipe.name for recipe in recipes]
    ngrams = ngram_losses(pool, test_sets)
    return compare_sizes(results, ladder, names, test_sets, ngrams, seed=seed, workspace=workspace)


def compare_sizes(
    results: Mapping[str, Sequence[TrialResult]],
    ladder: Ladder,
    recipes: Sequence[str],
    test_sets: Mapping[str, Examples],
    ngrams: Mapping[str, Mapping[str, float]] | None = None,
    *,
    seed: int,
    workspace: Workspace,
) -> Artifact:
    """The artefact of `transfer` from results: size -> those of every recipe; of `test_sets` only.

    `ngrams` is what tiny models of the pool reach there (`ngram_losses`).
    """
    inputs = {
        f"{size} {run.trial.training_set} {run.trial.repeat}": run.evaluation.content_hash
        for size, runs in results.items()
        for run in runs
    }
    inputs |= {
        f"last steps of {size} {run.trial.training_set} {run.trial.repeat}": hash_json(run.model.facts["last_steps"])
        for size, runs in results.items()
        for run in runs
        if "last_steps" in run.model.facts
    }
    config = {"sizes": {size: table.record for size, table in ladder.tables.items()}, "recipes": [*recipes]}
    config |= {"columns": [*COLUMNS]}

    def write(draft: Draft) -> dict[str, Any]:
        rows, samples = _losses(results, test_sets)
        with draft.file("losses.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([row[column] for column in COLUMNS] for row in rows)
        reference, *proxies = reversed(list(ladder.tables))
        table = _per_sample(samples, proxies, reference)
        with draft.file("per_sample.parquet") as file:
            pq.write_table(table, file)
        for size in proxies:
            with draft.file(f"scatter-{file_name(size)}.svg") as file:
                file.write_text(standalone(scatter(rows, size, reference)), encoding="utf-8")
        flops = {size: float(np.mean([run.model.facts["flops"] for run in runs])) for size, runs in results.items()}
        return {
            "reference": reference,
            "proxies": list(reversed(proxies)),
            "test_sets": [*test_sets],
            "ngrams": dict(ngrams or {}),
            "chance": {name: chance_of(examples) for name, examples in test_sets.items()},
            "num_runs": sum(map(len, results.values())),
            "flops": flops,
            "training": {size: runs[0].training for size, runs in results.items()},
            "num_parameters": {size: runs[0].model.facts["num_parameters"] for size, runs in results.items()},
            "per_sample": _histograms(table),
            "run_seconds": {
                size: float(np.mean([run.model.facts["seconds"] for run in of])) for size, of in results.items()
            },
            "train_seconds": round(sum(run.model.facts["seconds"] for runs in results.values() for run in runs), 3),
        }

    out = workspace.place("transfer", config, inputs, seed)
    return build(out, kind="transfer", config=config, seed=seed, inputs=inputs, write=write)


def reference_learned_little(study: Artifact, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The sentence of `little_learned` on the reference with the best recipe of each test set, over its seeds."""
    losses: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["size"] == study.facts["reference"]:
            losses.setdefault((row["test_set"], row["recipe"]), []).append(row["loss"])
    best: dict[str, float] = {}
    for (name, _), of_seeds in losses.items():
        best[name] = min(best.get(name, np.inf), float(np.mean(of_seeds)))
    return little_learned(best, study.facts.get("ngrams", {}), "even with the best recipe of each test set")


def read_rows(study: Artifact) -> list[dict[str, Any]]:
    """The rows of `losses.csv`."""
    with open(study.file("losses.csv"), newline="", encoding="utf-8") as file:
        numbers = ("loss", "correct")
        return [row | {name: float(row[name]) for name in numbers} for row in csv.DictReader(file)]


def plan_recipes(recipes: Sequence[TrainingSet], seed: int, budget: int) -> list[Trial]:
    """Repeat by repeat, a trial of every recipe; those of one repeat share a seed."""
    repeats = {len(recipe.draws) for recipe in recipes}
    if len(recipes) < 3 or len(repeats) != 1:
        raise InputError(f"{len(recipes)} recipes; decisions are judged on 3 or more, with as many repeats each")
    return plan_trials(recipes, repeats.pop(), budget=budget, seed=seed, stream="transfer")


def run_ladder(
    pool: Examples,
    tables: Mapping[str, ModelSettings],
    trials: Sequence[Trial],
    test_sets: Mapping[str, Examples],
    *,
    workers: int | None,
    workspace: Workspace,
    average: int = 1,
) -> dict[str, list[TrialResult]]:
    """The results of all trials at every size, each size in a folder of its own; `average` as in `run_trials`."""
    training = {"workers": workers, "average": average}
    results = {}
    with staged(len(tables), workspace.progress) as stage:
        for name, table in tables.items():
            folder = replace(workspace, root=workspace.root / file_name(name))
            with stage(f"models of {name}"):
                results[name] = run_reference(pool, table, trials, test_sets, workspace=folder, **training)
    return results


def planned_ladder(
    pool: Examples,
    tables: Mapping[str, ModelSettings],
    trials: Sequence[Trial],
    workspace: Workspace,
    last: LastSteps | None = None,
) -> list[Planned]:
    """The trials of every size that `run_ladder` has to train, for `say_planned`."""
    return [
        planned_reference(pool, table, trials, replace(workspace, root=workspace.root / file_name(name)), last)
        for name, table in tables.items()
    ]


def file_name(size: str) -> str:
    """A size as part of a file's name."""
    return re.sub(r"[^\w.@-]+", "-", size)


Samples = dict[tuple[str, str], dict[str, np.ndarray]]
"""(size, test set) -> `id` [n] and `losses` [recipes, n] of each example, the mean over repeats."""


def _losses(
    results: Mapping[str, Sequence[TrialResult]], test_sets: Mapping[str, Examples]
) -> tuple[list[dict[str, Any]], Samples]:
    """Rows of `losses.csv`, and the losses of single examples."""
    rows, by_run = [], {}
    for size, runs in results.items():
        for run in runs:
            table = read_evaluation(run.evaluation, test_sets)
            last, (names, losses, ids) = means_of(table), (table[key].to_numpy() for key in ("task", "loss", "id"))
            for name in test_sets:
                mask = names == name
                row = {"size": size, "recipe": run.trial.training_set, "seed": run.trial.repeat, "test_set": name}
                rows += [row | measured for measured in by_step(run.model, name, last[name])]
                own = by_run.setdefault((size, name), {"id": ids[mask]})
                own.setdefault(run.trial.training_set, []).append(losses[mask])
    samples: Samples = {}
    for key, own in by_run.items():
        recipes = [name for name in own if name != "id"]
        samples[key] = {"id": own["id"], "losses": np.array([np.mean(own[name], axis=0) for name in recipes])}
    return rows, samples


def by_step(model: Artifact, test_set: str, end: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the rows of one run and test set hold: at the last steps, where it was measured there, and at its `end`."""
    num_steps, whole = model.facts["num_steps"], model.facts["flops"]
    on_the_way = model.facts.get("last_steps", {"steps": [], "tasks": {test_set: {}}})
    measured = [
        (step, {measure: values and values[at] for measure, values in on_the_way["tasks"][test_set].items()})
        for at, step in enumerate(on_the_way["steps"])
    ]
    return [
        {
            "step": step,
            "loss": own["loss"],
            "bits_per_byte": own["bits_per_byte"],
            # Of choices, whether the right one was found; else whether the next token or the class was.
            "correct": own["correct"] if own["accuracy"] is None else own["accuracy"],
            "flops": round(whole * step / num_steps),
        }
        for step, own in [*measured, (num_steps, end)]
    ]


def _per_sample(samples: Samples, proxies: Sequence[str], reference: str) -> pa.Table:
    """R^2 over recipes of every example, at each proxy size."""
    parts = []
    for (size, name), own in samples.items():
        if size in proxies:
            x, y = own["losses"], samples[reference, name]["losses"]
            x, y = x - x.mean(axis=0), y - y.mean(axis=0)
            size_of = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
            r = np.divide((x * y).sum(axis=0), size_of, out=np.zeros(x.shape[1]), where=size_of > 0)
            count = x.shape[1]
            parts.append(pa.table({"size": [size] * count, "test_set": [name] * count, "id": own["id"], "r2": r**2}))
    return pa.concat_tables(parts)


def _histograms(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Size -> test set -> median R^2 of single examples and counts in tenths."""
    found: dict[str, dict[str, Any]] = {}
    sizes, names, values = (np.asarray(table[column].to_pylist()) for column in ("size", "test_set", "r2"))
    for size in dict.fromkeys(sizes.tolist()):
        for name in dict.fromkeys(names.tolist()):
            own = values[(sizes == size) & (names == name)]
            counts = np.histogram(own, np.linspace(0, 1, 11))[0].tolist()
            found.setdefault(size, {})[name] = {"median": float(np.median(own)), "counts": counts}
    return found
