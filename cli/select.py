"""`thresher select`: keep the best of the pool."""

from dataclasses import dataclass
from pathlib import Path

from thresher.cli.command import Command, made


@dataclass(frozen=True, kw_only=True)
class Select(Command):
    """Keep the pool's most useful examples for the targets, or make a control.

    The artefact has kept.parquet and dropped.parquet (id, position, domain, score, rank); positions are indices for
    `datasets.Dataset.select`.
    """

    scores: Path
    """Scores, from `thresher score`."""
    out: Path
    method: str = "dsdm"
    """dsdm (largest scores), random, bottom (smallest), gradient_norm (largest; needs --features)."""
    fraction: float | None = None
    """The share of the pool to keep, in (0, 1]."""
    count: int | None = None
    """Or how many examples."""
    targets: tuple[str, ...] = ()
    """The targets to select for, each normalised and then averaged; none: all."""
    weights: tuple[float, ...] = ()
    """A weight for each of --targets; none: equal."""
    features: Path | None = None
    """The pool's features, for gradient_norm."""
    seed: int = 0

    def run(self, progress):
        from thresher.artifacts import open_artifact
        from thresher.attribution.features import open_features
        from thresher.attribution.norms import gradient_norms
        from thresher.errors import InputError
        from thresher.selection.methods import select
        from thresher.selection.scores import open_scores
        from thresher.selection.selection import write_selection

        if self.weights and len(self.weights) != len(self.targets):
            raise InputError(
                f"{len(self.weights)} --weights for {len(self.targets)} --targets; give one for each, or none"
            )
        inputs = {"scores": open_artifact(self.scores, "scores").content_hash}
        norms = None
        if self.features is not None:
            store = open_features(self.features)
            norms, inputs["features"] = gradient_norms(store), store.content_hash
        scores = open_scores(self.scores)
        weights = dict(zip(self.targets, self.weights, strict=True)) if self.weights else None
        selected = select(
            self.method,
            scores,
            fraction=self.fraction,
            count=self.count,
            seed=self.seed,
            targets=self.targets or None,
            weights=weights,
            gradient_norms=norms,
        )
        artifact = write_selection(
            selected,
            scores.ids,
            scores.domains,
            out=self.out,
            method=self.method,
            config={"fraction": self.fraction, "count": self.count, "targets": list(self.targets), "weights": weights},
            seed=self.seed,
            inputs=inputs,
        )
        return made(artifact)


COMMAND = Select
