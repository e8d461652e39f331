"""Reduced learning rates: at which rate does a proxy rank recipes as the reference does, each recipe tuned?

Can Small Training Runs Reliably Guide Data Curation? (arXiv 2512.24503).
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.curvature import largest_eigenvalue
from thresher.proxies.evaluation import means
from thresher.proxies.models.weights import open_model
from thresher.proxies.planned import say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import TrialResult, check_trainable
from thresher.selection.statistics.decisions import judge
from thresher.selection.statistics.plateau import find_plateau, recommend
from thresher.studies.experiments.training_sets import TrainingSet
from thresher.studies.experiments.transfer import plan_recipes, planned_ladder, run_ladder
from thresher.workspace import Workspace

COLUMNS = ("size", "learning_rate", "recipe", "seed", "test_set", "loss", "drop", "flops")
ALL = "mean loss"
"""The mean loss over all test sets, judged like a test set: what a single validation set of all would give."""
Rates = Mapping[float, Sequence[TrialResult]]


def learning_rate(
    pool: Examples,
    recipes: Sequence[TrainingSet],
    test_sets: Mapping[str, Examples],
    *,
    proxy: ModelSettings,
    rates: Sequence[float],
    reference: ModelSettings,
    reference_rates: Sequence[float],
    standard: float,
    budget: int,
    seed: int,
    workers: int | None,
    workspace: Workspace,
    num_resamples: int = 1000,
) -> Artifact:
    """Train the proxy on every recipe at every rate, and the reference at several of which each recipe gets its best.

    An artefact of kind "learning-rates": `losses.csv`, and as facts, for every rate, the `judged` measures against the
    tuned reference, and what `plateau.find_plateau` says; `recommended` (a rate or None), `standard` (the nearest rate
    tried to the usual one), `tuned` (recipe -> the reference's best rate), `largest_eigenvalue` of the Hessian of the
    validation loss at a proxy trained at the standard rate. Resumes run by run.
    """
    if len(set(rates)) < 2 or not reference_rates or min([*rates, *reference_rates, standard]) <= 0:
        raise InputError(f"rates {list(rates)} and {list(reference_rates)}; pass 2 or more of the proxy, 1 or more of "
                         "the reference, all above 0")  # fmt: skip
    for table in (proxy, reference):
        check_trainable(pool, table, test_sets)
    trials, training = plan_recipes(recipes, seed, budget), {"workers": workers, "workspace": workspace}
    to_train = [
        kind
        for table, of_table in ((proxy, rates), (reference, reference_rates))
        for kind in planned_ladder(pool, _tables(table, sorted(set(of_table))), trials, workspace)
    ]
    say_planned(to_train, pool, workers=workers, workspace=workspace)
    small = _at_rates(pool, proxy, sorted(set(rates)), trials, test_sets, **training)
    large = _at_rates(pool, reference, sorted(set(reference_rates)), trials, test_sets, **training)
    named = {
        f"{which} {rate:g}": runs
        for which, side in (("proxy", small), ("reference", large))
        for rate, runs in side.items()
    }
    inputs = {
        f"{name} {run.trial.training_set} {run.trial.repeat}": run.evaluation.content_hash
        for name, runs in named.items()
        for run in runs
    }
    config = {
        "proxy": proxy.record,
        "reference": reference.record,
        "rates": list(small),
        "reference_rates": list(large),
        "standard": standard,
        "recipes": [recipe.name for recipe in recipes],
        "num_resamples": num_resamples,
    }

    def write(draft: Draft) -> dict[str, Any]:
        with draft.file("losses.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for size, side in ((proxy.size, small), (reference.size, large)):
                writer.writerows(_rows(size, side))
        nearest = min(small, key=lambda rate: abs(np.log(rate / standard)))
        trained = next(run for run in small[nearest])
        heldout = next(iter(test_sets.values()))
        eigenvalue = largest_eigenvalue(open_model(trained.model.path), heldout, seed=seed, device=workspace.device)
        facts = _facts(small, large, [recipe.name for recipe in recipes], list(test_sets), num_resamples, seed)
        costs = {f"flops_{name}": float(np.mean([run.model.facts["flops"] for runs in side.values() for run in runs]))
                 for name, side in (("proxy", small), ("reference", large))}  # fmt: skip
        return {**facts, "standard": nearest, "largest_eigenvalue": eigenvalue, **costs}

    out = workspace.place("learning-rates", config, inputs, seed)
    return build(out, kind="learning-rates", config=config, seed=seed, inputs=inputs, write=write)


def _at_rates(
    pool: Examples, table: ModelSettings, rates: Sequence[float], trials, test_sets, **training
) -> dict[float, list[TrialResult]]:
    results = run_ladder(pool, _tables(table, rates), trials, test_sets, **training)
    return dict(zip(rates, results.values(), strict=True))


def _tables(table: ModelSettings, rates: Sequence[float]) -> dict[str, ModelSettings]:
    return {f"{table.size}@{rate:g}": replace(table, learning_rate=rate) for rate in rates}


def _facts(
    small: Rates, large: Rates, recipes: Sequence[str], sets: Sequence[str], num_resamples: int, seed: int
) -> dict[str, Any]:
    tuned = _tuned(large, recipes, sets)
    reference = {name: [tuned[recipe][1][name] for recipe in recipes] for name in sets}
    losses = {rate: _losses(runs, recipes, sets) for rate, runs in small.items()}
    drops = np.array(
        [[min(_drop(run) for run in runs if run.trial.training_set == r) for r in recipes] for runs in small.values()]
    )
    over_sets = np.array([table.mean(axis=1) for table in losses.values()])  # [rates, recipes, seeds]
    rows, found = [], find_plateau(list(small), over_sets, drops)
    for rate, on in zip(found, losses.values(), strict=True):
        proxy = {name: on[:, i].mean(axis=1).tolist() for i, name in enumerate(sets)}
        judged = judge(proxy, reference, num_resamples=num_resamples, seed=seed)
        ours, theirs = ({ALL: np.mean(list(side.values()), axis=0)} for side in (proxy, reference))
        judged |= judge(ours, theirs, num_resamples=num_resamples, seed=seed)
        plain = {name: {m: asdict(e) for m, e in own.items()} for name, own in judged.items()}
        rows.append({**asdict(rate), "judged": plain})
    best = recommend(found)
    return {
        "rates": rows,
        "recommended": None if best is None else best.learning_rate,
        "tuned": {recipe: rate for recipe, (rate, _) in tuned.items()},
        "num_recipes": len(recipes),
        "num_runs": sum(len(runs) for side in (small, large) for runs in side.values()),
    }


def _losses(runs: Sequence[TrialResult], recipes: Sequence[str], sets: Sequence[str]) -> Float[np.ndarray, "r t s"]:
    by_recipe = {
        recipe: [means(run.evaluation) for run in runs if run.trial.training_set == recipe] for recipe in recipes
    }
    return np.array([[[run[name]["loss"] for run in by_recipe[recipe]] for name in sets] for recipe in recipes])


def _tuned(large: Rates, recipes: Sequence[str], sets: Sequence[str]) -> dict[str, tuple[float, dict[str, float]]]:
    """Recipe -> the rate of least mean loss over test sets and seeds, and the losses there."""
    tables = {rate: _losses(runs, recipes, sets) for rate, runs in large.items()}
    found = {}
    for i, recipe in enumerate(recipes):
        rate = min(tables, key=lambda rate: tables[rate][i].mean())
        found[recipe] = rate, dict(zip(sets, tables[rate][i].mean(axis=1).tolist(), strict=True))
    return found


def _drop(run: TrialResult) -> float:
    """By what share the training loss fell."""
    first = run.model.facts["loss_curve"][0]
    return 1 - run.model.facts["final_train_loss"] / first


def _rows(size: str, side: Rates):
    for rate, runs in side.items():
        for run in runs:
            for name, row in means(run.evaluation).items():
                yield (
                    size,
                    rate,
                    run.trial.training_set,
                    run.trial.repeat,
                    name,
                    row["loss"],
                    _drop(run),
                    run.model.facts["flops"],
                )
