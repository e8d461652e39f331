"""What happens to a target when the examples that a scorer ranks highest are left out of training?

    QLD(t) = loss(t; pool without the top of t's scores) - loss(t; pool without as much drawn at random)

The query loss difference: above 0, what was left out had helped, and more than random data did. It judges the top of a
ranking by real retraining where the LDS judges all of it, and the two disagree about scorers: report both.
"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.intervals import paired
from thresher.proxies.evaluation import means
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_trainable
from thresher.proxies.trials import run_trials
from thresher.seeds import numpy_rng
from thresher.selection.budget import Budget, take
from thresher.selection.statistics.comparison import POOLED
from thresher.studies.experiments.training_sets import TrainingSet, held_by, plan_trials
from thresher.studies.study import BASELINE
from thresher.workspace import Workspace

ScoresByTarget = Mapping[str, Float[np.ndarray, "n"]]


def leave_out(
    pool: Examples,
    targets: Mapping[str, Examples],
    scores: Mapping[str, ScoresByTarget],
    *,
    model: ModelSettings,
    share: float = 0.01,
    repeats: int = 3,
    seed: int = 0,
    workers: int | None = None,
    workspace: Workspace,
) -> Artifact:
    """Retrain `model` without the top `share` (of the pool's tokens or images) by each scorer, for each target.

    `scores` maps scorers to the pool's scores for each target. A scorer and a target take `repeats` trainings, and
    random data, drawn anew for each, as many. All are trained on the same number of tokens, from paired seeds. Gives an
    artefact of kind "left-out": `runs.parquet` (left_out, seed, task, loss) and in its facts, by scorer, the
    QLD of each target and of their mean with a 95 % interval over seeds. Every training is an artefact of its own.
    Raises InputError for fewer than 2 repeats, for a share that leaves nothing out or nothing over, and for scores that
    do not fit the pool and targets.
    """
    lengths = np.asarray(pool.lengths())
    _check(scores, targets, len(pool), repeats)
    check_trainable(pool, model, targets)
    amount = Budget(fraction=share).of(lengths).total
    sets = [_random(lengths, amount, repeats, seed)]
    sets += [
        TrainingSet.of(_name(scorer, target), _without(np.argsort(-values, kind="stable"), amount, lengths))
        for scorer, by_target in scores.items()
        for target, values in by_target.items()
    ]
    budget = min(min(held) for held in held_by(sets, lengths, repeats).values())
    if budget == 0:
        raise InputError(f"share={share} leaves nothing to train on; pass a smaller one")
    trials = plan_trials(sets, repeats, budget=budget, seed=seed, stream="left out")
    results = run_trials(pool, model, trials, targets, label="left out", workers=workers, workspace=workspace)
    inputs = {result.trial.name: result.evaluation.content_hash for result in results}
    config = {
        "model": asdict(model),
        "share": share,
        "repeats": repeats,
        "scorers": list(scores),
        "targets": list(targets),
    }

    def write(draft: Draft) -> dict:
        losses = {
            (result.trial.training_set, result.trial.repeat, task): row["loss"]
            for result in results
            for task, row in means(result.evaluation).items()
        }
        rows = [
            {"left_out": training_set, "seed": repeat, "task": task, "loss": loss}
            for (training_set, repeat, task), loss in losses.items()
        ]
        with draft.file("runs.parquet") as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
        table = {}
        for scorer in scores:
            of_target = {
                target: tuple(
                    np.array([losses[name, repeat, target] for repeat in range(repeats)])
                    for name in (_name(scorer, target), BASELINE)
                )
                for target in targets
            }
            table[scorer] = {target: asdict(paired(*sides)) for target, sides in of_target.items()}
            ours, theirs = (np.mean([sides[i] for sides in of_target.values()], axis=0) for i in range(2))
            table[scorer][POOLED] = asdict(paired(ours, theirs))
        return {"table": table, "left_out": amount, "num_trainings": len(results)}

    out = workspace.place("left-out", inputs, config, seed)
    return build(out, kind="left-out", config=config, seed=seed, inputs=inputs, write=write)


def _name(scorer: str, target: str) -> str:
    return f"{scorer} for {target}"


def _without(order: Int[np.ndarray, "n"], amount: int, lengths: Int[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
    """All positions but the first of `order` that hold `amount`."""
    return np.setdiff1d(np.arange(len(lengths)), take(order, amount, lengths).kept)


def _random(lengths: Int[np.ndarray, "n"], amount: int, repeats: int, seed: int) -> TrainingSet:
    orders = [numpy_rng(seed, "left out", repeat).permutation(len(lengths)) for repeat in range(repeats)]
    return TrainingSet.of(BASELINE, *[_without(order, amount, lengths) for order in orders])


def _check(scores: Mapping[str, ScoresByTarget], targets: Mapping[str, Examples], size: int, repeats: int) -> None:
    if repeats < 2:
        raise InputError(f"repeats={repeats} gives no interval; pass 2 or more")
    if not scores or not targets:
        raise InputError("nothing to compare; give the scores of at least one scorer and at least one target")
    for scorer, by_target in scores.items():
        if set(by_target) != set(targets):
            raise InputError(
                f"scorer {scorer!r} has scores for {', '.join(by_target)}; give those for {', '.join(targets)}"
            )
        for target, values in by_target.items():
            if values.shape != (size,):
                raise InputError(
                    f"scorer {scorer!r} has scores of shape {values.shape} for {target!r}; the pool has {size} examples"
                )
            if not np.isfinite(values).all():
                raise InputError(f"scorer {scorer!r} has scores that are not finite for {target!r}; leave it out")
