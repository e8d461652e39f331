"""Reduced learning rates: at which rate does a proxy rank recipes as the reference does, each recipe tuned?

Can Small Training Runs Reliably Guide Data Curation? (arXiv 2512.24503). What is made of the losses is in `rates`.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.curvature import largest_eigenvalue
from thresher.proxies.evaluation import means
from thresher.proxies.models.weights import open_model
from thresher.proxies.planned import say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_distinct, check_trainable
from thresher.proxies.training.chosen import usual_rate
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.trials import Trial, TrialResult
from thresher.studies.experiments.rates import Losses, TriedRates, judge_rates
from thresher.studies.experiments.training_sets import TrainingSet
from thresher.studies.experiments.transfer import by_step, plan_recipes, planned_ladder, run_ladder
from thresher.workspace import Workspace

COLUMNS = ("size", "learning_rate", "recipe", "seed", "test_set", "loss", "drop", "flops")
Results = Mapping[float, Sequence[TrialResult]]


def learning_rate(
    pool: Examples,
    recipes: Sequence[TrainingSet],
    test_sets: Mapping[str, Examples],
    *,
    proxy: ModelSettings,
    rates: TriedRates,
    reference: ModelSettings,
    reference_rates: TriedRates,
    budget: int,
    seed: int,
    workers: int | None,
    workspace: Workspace,
    num_resamples: int = 1000,
    average: int = 1,
) -> Artifact:
    """Train the proxy on every recipe at every rate, and the reference at several of which each recipe gets its best.

    With `average` above 1 the loss of a run is the mean over so many of its last steps. Runs at a size's usual rate
    are those of `transfer` in the same workspace.

    An artefact of kind "learning-rates": `losses.csv`, and as facts those of `judge_rates`, `own` (size -> the rate
    that multiples are of), and `largest_eigenvalue` of the Hessian of the validation loss at a proxy trained at the
    standard rate. Resumes run by run. Raises InputError for fewer than 2 rates of the proxy.
    """
    if len(rates.tried) < 2:
        raise InputError(f"{len(rates.tried)} rates of the proxy; pass 2 or more to compare")
    sides = ((proxy, rates), (reference, reference_rates))
    check_distinct(pool, (proxy, reference))
    for table, _ in sides:
        check_trainable(pool, table, test_sets)
    trials = plan_recipes(recipes, seed, budget)
    last = LastSteps.of(test_sets, average)
    to_train = [
        kind
        for table, of_table in sides
        for kind in planned_ladder(pool, _tables(table, of_table, pool), trials, workspace, last)
    ]
    say_planned(to_train, pool, workers=workers, workspace=workspace)
    training = {"workers": workers, "workspace": workspace, "average": average}
    small, large = (_at_rates(pool, table, of_table, trials, test_sets, **training) for table, of_table in sides)
    inputs = {
        f"{which} {rate} {run.trial.training_set} {run.trial.repeat}": run.evaluation.content_hash
        for which, side in (("proxy", small), ("reference", large))
        for rate, runs in side.items()
        for run in runs
    }
    names, sets = [recipe.name for recipe in recipes], list(test_sets)
    config = {
        "proxy": proxy.record,
        "reference": reference.record,
        "rates": list(small),
        "reference_rates": list(large),
        "own": [rates.own, reference_rates.own],
        "recipes": names,
        "num_resamples": num_resamples,
    }
    config |= {"average": average} if average > 1 else {}

    def write(draft: Draft) -> dict[str, Any]:
        with draft.file("losses.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for size, side in ((proxy.size, small), (reference.size, large)):
                writer.writerows(_rows(size, side))
        heldout = next(iter(test_sets.values()))
        model = open_model(small[rates.nearest][0].model.path)
        drops = np.array([[min(map(_drop, _of(runs, name))) for name in names] for runs in small.values()])
        losses = [{rate: _losses(runs, names, sets) for rate, runs in side.items()} for side in (small, large)]
        facts = judge_rates(losses[0], drops, losses[1], names, sets, own=rates, num_resamples=num_resamples, seed=seed)
        costs = {
            f"flops_{name}": float(np.mean([run.model.facts["flops"] for runs in side.values() for run in runs]))
            for name, side in (("proxy", small), ("reference", large))
        }
        return {
            **facts,
            "own": {proxy.size: rates.own, reference.size: reference_rates.own},
            "training": {
                proxy.size: small[rates.nearest][0].training,
                reference.size: large[reference_rates.nearest][0].training,
            },
            "num_runs": sum(len(runs) for side in (small, large) for runs in side.values()),
            "largest_eigenvalue": largest_eigenvalue(model, heldout, seed=seed, device=workspace.device),
            **costs,
        }

    out = workspace.place("learning-rates", config, inputs, seed)
    return build(out, kind="learning-rates", config=config, seed=seed, inputs=inputs, write=write)


def _at_rates(
    pool: Examples,
    table: ModelSettings,
    rates: TriedRates,
    trials: Sequence[Trial],
    test_sets: Mapping[str, Examples],
    **training: Any,
) -> Results:
    results = run_ladder(pool, _tables(table, rates, pool), trials, test_sets, **training)
    return dict(zip(rates.tried, results.values(), strict=True))


def _tables(table: ModelSettings, rates: TriedRates, pool: Examples) -> dict[str, ModelSettings]:
    """Name -> how models are trained at each rate; at the usual one as a study that names no rate trains them."""
    usual = usual_rate(table, pool)
    return dict(
        (table.size, table) if rate == usual else (f"{table.size}@{rate}", replace(table, learning_rate=rate))
        for rate in rates.tried
    )


def _of(runs: Sequence[TrialResult], recipe: str) -> list[TrialResult]:
    return [run for run in runs if run.trial.training_set == recipe]


def _losses(runs: Sequence[TrialResult], recipes: Sequence[str], sets: Sequence[str]) -> Losses:
    tables = [[(run.model, means(run.evaluation)) for run in _of(runs, recipe)] for recipe in recipes]
    return np.array(
        [[[_loss(model, name, table[name]) for model, table in of_recipe] for name in sets] for of_recipe in tables]
    )


def _loss(model: Artifact, test_set: str, end: Mapping[str, Any]) -> float:
    """The mean over the steps that a run was measured at."""
    return float(np.mean([row["loss"] for row in by_step(model, test_set, end)]))


def _drop(run: TrialResult) -> float:
    """By what share the training loss fell."""
    return 1 - run.model.facts["final_train_loss"] / run.model.facts["loss_curve"][0]


def _rows(size: str, side: Results) -> Iterator[tuple[Any, ...]]:
    for rate, runs in side.items():
        for run in runs:
            trial, facts = run.trial, run.model.facts
            for name, row in means(run.evaluation).items():
                loss = _loss(run.model, name, row)
                yield size, rate, trial.training_set, trial.repeat, name, loss, _drop(run), facts["flops"]
