"""Scorers that reach the score for the mean of a target by a shorter way than through its examples, one by one.

Each writes the scores artefact at `out`: one solve, one sweep or one mean of features a target, then one pass over the
pool.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from thresher.artifacts import Artifact
from thresher.attribution.scoring.curvature import score_by_curvature
from thresher.attribution.scoring.direction import score_by_direction
from thresher.attribution.scoring.dual import score_dual
from thresher.attribution.scoring.scores import score
from thresher.attribution.unrolling.scores import Unrolling, score_by_unrolling
from thresher.data.examples import Examples
from thresher.studies.scoring.basis import Basis
from thresher.studies.scoring.combined import combined_columns
from thresher.studies.scoring.replay import replay_of

Columns = Callable[[Basis, Mapping[str, Examples], Path], Artifact]


def _seen(basis: Basis, targets: Mapping[str, Examples]) -> dict[str, Examples]:
    return {name: basis.seen(examples) for name, examples in targets.items()}


def _trak(basis: Basis, targets: Mapping[str, Examples], out: Path) -> Artifact:
    stores = {name: basis.features(f"target-{name}", examples) for name, examples in targets.items()}
    options = {"damping": basis.settings.damping, "q": basis.settings.q, "goal": basis.settings.goal}
    return score(basis.pool_features, stores, out=out, progress=basis.workspace.progress, **options)


def _dual(basis: Basis, targets: Mapping[str, Examples], out: Path) -> Artifact:
    return score_dual(
        basis.loaders, basis.pool_seen, _seen(basis, targets), out=out, top=basis.settings.top, **basis.reading
    )


def _direction(basis: Basis, targets: Mapping[str, Examples], out: Path) -> Artifact:
    own = {name: getattr(basis.settings, name) for name in ("sample", "per_token", "seed")}
    return score_by_direction(basis.loaders, basis.pool_seen, _seen(basis, targets), out=out, **own, **basis.reading)


def _curvature(steps: bool) -> Columns:
    def columns(basis: Basis, targets: Mapping[str, Examples], out: Path) -> Artifact:
        own = {"per_token": basis.settings.per_token, **basis.curving(steps)}
        return score_by_curvature(basis.loaders, basis.pool_seen, _seen(basis, targets), out=out, **own)

    return columns


def _unrolling(method: str) -> Columns:
    def columns(basis: Basis, targets: Mapping[str, Examples], out: Path) -> Artifact:
        device = basis.workspace.device
        replays = [
            (content_hash, lambda model=model, own=own: replay_of(model, basis.pool, indices=own, device=device))
            for model, own, (content_hash, _) in zip(basis.models, basis.indices, basis.loaders, strict=True)
        ]
        options = Unrolling(method=method, window=basis.settings.window, output=basis.settings.output)
        return score_by_unrolling(
            replays, basis.pool, targets, out=out, options=options, progress=basis.workspace.progress
        )

    return columns


COLUMNS: Mapping[str, Columns] = {
    "trak": _trak,
    "dual": _dual,
    "direction": _direction,
    "ekfac": _curvature(steps=False),
    "ekfac-cg": _curvature(steps=True),
    "ekfac+bm25": combined_columns,
    "metagradient": _unrolling("metagradient"),
    "adamw-influence": _unrolling("adamw-influence"),
}
