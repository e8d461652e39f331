"""How good scores are: what retraining on subsets says (LDS), and what leaving out their top says (QLD)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.attribution.grounds import Ground, part_of_target
from benchmarks.attribution.leaderboard.rows import FOLDER
from thresher.attribution import lds_table, level_share, noise_ceiling, predict_outputs, without_level
from thresher.studies import leave_out
from thresher.workspace import Workspace

LEFT_OUT = ("trak", "ekfac", "grad-cosine", "bm25", "embedding", "ekfac + bm25")
"""The rows whose tops are left out, where they are there."""


def groups_of(ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    """The names of groups of targets, domains or classes, and the group of each target, [t]."""
    groups, member = np.unique(np.asarray(ground.target.domains, dtype=str), return_inverse=True)
    if len(groups) > 1:
        return groups, member
    labels, member = np.unique(np.asarray(ground.target.labels), return_inverse=True)
    return labels.astype(str), member


def mixing_of(ground: Ground) -> np.ndarray:
    """[t, groups]: times scores or margins of single targets, the mean of each group's."""
    groups, member = groups_of(ground)
    return (member[:, None] == np.arange(len(groups))) / np.bincount(member)


def judge(ground: Ground, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """LDS of every row, on single targets and on averages of groups; with and without the level of a retraining."""
    baseline, mixing = "bm25" if "bm25" in scores else "embedding", mixing_of(ground)
    found: dict[str, Any] = {}
    for name, weights in (("lds", np.eye(len(mixing))), ("averaged", mixing)):
        predicted = {row: predict_outputs([(0, values @ weights)], ground.subsets) for row, values in scores.items()}
        outputs = ground.outputs @ weights
        apart = {row: without_level(values) for row, values in predicted.items()}
        for kind, rows, truth in (
            (name, predicted, outputs),
            (f"{name}_relative", apart, without_level(outputs)),
        ):
            table = lds_table(rows, truth, baseline=baseline, num_resamples=200)
            found[kind] = {row: {key: asdict(value) for key, value in own.items()} for row, own in table.items()}
            if truth.shape[1] > 1:
                ceiling = noise_ceiling(truth, num_resamples=200)
                found.setdefault("ceilings", {})[kind] = {key: asdict(value) for key, value in ceiling.items()}
    found |= {"baseline": baseline, "num_groups": mixing.shape[1], "num_subsets": len(ground.subsets)}
    return found | {"repeats": ground.outputs.shape[1], "level_share": level_share(ground.outputs)}


def left_out(
    ground: Ground, scores: Mapping[str, np.ndarray], *, rows: Sequence[str] = LEFT_OUT, num_groups: int, repeats: int
) -> dict[str, Any]:
    """QLD of the rows, for the largest groups of targets: scores averaged over the group, the top 1 % left out."""
    groups, member = groups_of(ground)
    largest = np.argsort(-np.bincount(member), kind="stable")[:num_groups]
    mixing = mixing_of(ground)
    targets = {str(groups[g]): part_of_target(ground, np.flatnonzero(member == g), str(groups[g])) for g in largest}
    made = leave_out(
        ground.pool,
        targets,
        {
            row: {str(groups[g]): (scores[row] @ mixing[:, g]).astype(np.float64) for g in largest}
            for row in rows
            if row in scores
        },
        model=ground.setting.table,
        repeats=repeats,
        workspace=Workspace(FOLDER / "left-out" / ground.setting.data, "cpu"),
    )
    return {key: made.meta["config"][key] for key in ("share", "repeats")} | made.facts
