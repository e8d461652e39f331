"""How well do scores predict retraining? Checkpoints to attribute with, and the LDS of scorers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build, hash_file
from thresher.attribution.quality.lds import (
    Estimate,
    lds,
    lds_table,
    level_share,
    noise_ceiling,
    predict_outputs,
    without_level,
)
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Trial, planned, train_trials
from thresher.seeds import run_seed
from thresher.studies.experiments.retraining import Retrainings
from thresher.studies.experiments.training_sets import PoolPart, random_parts
from thresher.studies.scoring.basis import Basis
from thresher.studies.scoring.effort import say_effort
from thresher.studies.scoring.pairs import check_scorers, pairs_by
from thresher.workspace import Workspace

ROWS = 4096
"""Of given scores looked at at once."""


def train_checkpoints(
    pool: Examples,
    table: ModelSettings,
    *,
    count: int,
    seed: int,
    workers: int | None,
    workspace: Workspace,
    fraction: float = 1.0,
    further: Sequence[Planned] = (),
) -> list[Path]:
    """`count` models on the pool, each from its own initialisation and order, several at once.

    With a `fraction` below 1 each is trained on a random part of the pool's tokens (images) of its own. `further`
    trainings follow; what they take is said beforehand together with these.
    """
    if count < 1:
        raise InputError(f"checkpoints={count}; pass 1 or more")
    if fraction == 1:
        name, parts = "whole", [PoolPart(np.arange(len(pool)))] * count
    else:
        name, parts = "part", random_parts(pool, fraction, num=count, seed=seed, name="checkpoint")
    trials = [
        Trial(name, m, run_seed(seed, "checkpoint", m), *part, folder="checkpoints") for m, part in enumerate(parts)
    ]
    missing = planned(pool, table, trials, workspace)
    if missing.units:
        say_planned([missing, *further], pool, workers=workers, workspace=workspace)
    models = train_trials(pool, table, trials, label="checkpoints", workers=workers, workspace=workspace)
    return [model.path for model in models]


def judge(
    basis: Basis,
    target: Examples,
    truth: Retrainings,
    names: Sequence[str],
    *,
    given: Mapping[str, Path] | None = None,
    output: str = "margin",
    baseline: str | None = None,
    seed: int = 0,
) -> Artifact:
    """LDS of each named scorer, and of `given` score matrices (`.npy` [n, t]), against one ground truth.

    An artefact of kind "lds": `lds.parquet` (scorer, target_id, lds), and as facts the `table` of means with 95 %
    intervals over subsets and targets, and the `ceiling`. `output`: margin, or loss (negated).
    """
    check_scorers(names, basis.pool)
    given = given or {}
    inputs = {"retrainings": truth.artifact.content_hash} | basis.inputs
    inputs |= {f"scores {name}": hash_file(path) for name, path in given.items()}
    config = {"scorers": list(names), "baseline": baseline, **asdict(basis.settings), "measured": output}

    def write(draft: Draft) -> dict:
        outputs, subsets = truth.to_predict(output), truth.subsets
        predicted = {}
        for name in names:
            say_effort(name, basis, num_targets=len(target), each=True)
            predicted[name] = predict_outputs(pairs_by(name, basis, target), subsets)
        predicted |= {
            name: predict_outputs([(0, given_scores(path, len(basis.pool), len(target)))], subsets)
            for name, path in given.items()
        }
        values = {name: lds(p, outputs.mean(axis=1)) for name, p in predicted.items()}
        with draft.file("lds.parquet") as file:
            columns = {
                "scorer": np.repeat(list(values), len(target)),
                "lds": np.concatenate([*values.values()]),
            }
            pq.write_table(pa.table(columns | {"target_id": [*target.ids] * len(values)}), file)
        table = lds_table(predicted, outputs, baseline=baseline, seed=seed)
        num_subsets, repeats, num_targets = outputs.shape
        relative = {}
        if num_targets > 1:
            apart = {name: without_level(p) for name, p in predicted.items()}
            relative = lds_table(apart, without_level(outputs), baseline=baseline, seed=seed)
        facts = {"table": _plain(table), "num_subsets": num_subsets, "repeats": repeats, "num_targets": num_targets}
        facts |= {"relative": _plain(relative), "level_share": level_share(outputs)}
        facts |= {"fraction": float(subsets[0].mean()), "num_pool": subsets.shape[1]}
        if repeats > 1:
            facts["ceiling"] = {key: asdict(value) for key, value in noise_ceiling(outputs, seed=seed).items()}
        return facts

    out = basis.workspace.place("lds", config, inputs, seed)
    return build(out, kind="lds", config=config, seed=seed, inputs=inputs, write=write)


def _plain(table: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: {key: asdict(value) for key, value in row.items()} for name, row in table.items()}


def given_scores(path: Path, num_pool: int, num_targets: int) -> np.ndarray:
    """Scores [pool, target] from a `.npy` file. Raises InputError for one that is not there, others' or not finite."""
    wanted = (num_pool, num_targets)
    try:
        scores = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header's shape asks for no memory
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a .npy file") from None
    except (ValueError, EOFError, AttributeError) as error:
        raise InputError(f"{path} is no .npy file of numbers ({error}); write it by numpy.save") from None
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "iuf":
        raise InputError(f"{path} holds no array of numbers; write it by numpy.save of floats")
    if scores.shape != wanted:
        raise InputError(f"{path} has shape {scores.shape}; scores [pool, target] are {wanted} here")
    for start in range(0, num_pool, ROWS):
        if not np.isfinite(scores[start : start + ROWS]).all():
            raise InputError(f"{path} holds scores that are not finite; repair them, or leave the file out")
    return scores
