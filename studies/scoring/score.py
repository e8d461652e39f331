"""The scores artefact of any scorer: one column a target, as everything after reads it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.scoring.score_table import saved, write_scores
from thresher.attribution.scoring.tokens import check_per_token
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.scorers import SCORERS
from thresher.scores import check_names
from thresher.studies.scoring.basis import Basis
from thresher.studies.scoring.columns import COLUMNS
from thresher.studies.scoring.effort import say_effort
from thresher.studies.scoring.pairs import PAIRS, check_scorers


def score_by(name: str, basis: Basis, targets: Mapping[str, Examples], *, out: Path) -> Artifact:
    """Scores of the basis's pool for each target by the scorer called `name`: the mean over the target's examples.

    A killed run continues where it was. Raises InputError for a scorer that is unknown or does not apply,
    and for targets that the models cannot read.
    """
    check_scorers([name], basis.pool, pairs=False)
    check_names(targets)
    basis.check(*targets.values())
    if basis.settings.per_token and not SCORERS[name].is_along:
        along = ", ".join(scorer for scorer in SCORERS if SCORERS[scorer].is_along)
        raise InputError(f"per_token={basis.settings.per_token} is of scores along a direction; score by {along}")
    check_per_token(basis.pool, basis.settings.per_token)
    say_effort(name, basis, num_targets=len(targets), out=out, note=_note(name, basis))
    if name in COLUMNS:
        return COLUMNS[name](basis, targets, out)

    def write(draft: Draft) -> dict:
        columns = {}
        with basis.workspace.progress.task(f"scores, {name}", len(targets)) as advance:
            for number, (target, examples) in enumerate(targets.items()):
                made = saved(draft, f"target{number:03d}", lambda examples=examples: {"mean": _means(examples)})
                columns[target] = made["mean"]
                advance(1)
        facts = {"second_moments": basis.scales is not None} if name == "trackstar" else {}
        return {"scorer": name} | facts | write_scores(draft, basis.pool, columns, basis.num_models, targets)

    def _means(examples: Examples) -> np.ndarray:
        means = np.zeros(len(basis.pool))
        for start, block in PAIRS[name](basis, examples):
            means[start : start + len(block)] = block.mean(axis=1)
        return means

    inputs = basis.inputs | _moments(name, basis)
    inputs |= {f"target {target}": examples.content_hash for target, examples in targets.items()}
    config = {"scorer": name, "targets": list(targets)} | asdict(basis.settings)
    return build(out, kind="scores", config=config, seed=basis.settings.seed, inputs=inputs, write=write)


def _moments(name: str, basis: Basis) -> dict[str, str]:
    """The hashes of the second moments that scores are made with."""
    scales = basis.scales if name == "trackstar" else None
    return {f"second moments {m}": content_hash for m, (content_hash, _) in enumerate(scales or ())}


def _note(name: str, basis: Basis) -> str:
    if name != "trackstar":
        return ""
    if basis.scales is not None:
        return "takes the second moments that training kept"
    return "without second moments, which thresher train --keep-optimizer keeps"
