"""The gain on clean examples: held-out examples that share no passage with the pool."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, open_artifact
from thresher.intervals import MeanInterval, paired
from thresher.proxies.trials import trial_name


def leaked_examples(overlap: Artifact) -> dict[str, set[str]]:
    """Target -> ids of its examples that `overlap.parquet` names: of each document the first that it shares words with.

    All that share any where no document shares words with two of them; else the rest is not known.
    """
    found: dict[str, set[str]] = {name: set() for name in overlap.facts["targets"]}
    table = pq.read_table(overlap.file("overlap.parquet"), columns=["target", "example"])
    for target, example in zip(*(table[name].to_pylist() for name in ("target", "example")), strict=True):
        found[target].add(example)
    return found


def clean_gain(
    validation: Artifact, evaluations: Path, leaked: Mapping[str, Collection[str]], arm: str, baseline: str
) -> MeanInterval | None:
    """Loss of `arm` minus that of `baseline` on held-out examples that are not `leaked`, paired by seed.

    The mean over targets of the mean over a target's examples, nats; a 95 % t interval over seeds. `evaluations` is the
    folder of the runs' evaluations. None with fewer than 2 seeds that both have, finite and with examples left.
    """
    hashes = {
        open_artifact(path).content_hash: path for path in evaluations.iterdir() if (path / "meta.json").is_file()
    }
    inputs = validation.meta["inputs"]
    seeds = range(validation.meta["config"]["num_seeds"])
    losses: list[list[float]] = []
    for seed in seeds:
        runs = [hashes.get(inputs.get(trial_name(which, seed), "")) for which in (arm, baseline)]
        if all(path is not None for path in runs):
            losses.append([_clean_loss(open_artifact(path), leaked) for path in runs if path is not None])
    table = np.array(losses).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return paired(table[:, 0], table[:, 1]) if len(table) > 1 else None


def _clean_loss(evaluation: Artifact, leaked: Mapping[str, Collection[str]]) -> float:
    table = pq.read_table(evaluation.file("losses.parquet"), columns=["task", "id", "loss"])
    tasks, ids = table["task"].to_pylist(), table["id"].to_pylist()
    losses = table["loss"].to_numpy()
    means: Sequence[float] = [
        _mean(losses[[task == name and id not in gone for task, id in zip(tasks, ids, strict=True)]])
        for name, gone in leaked.items()
    ]
    return float(np.mean(means))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
