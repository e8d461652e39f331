"""`thresher score`: what each pool example does to the targets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thresher.cli.command import Command, made, named_paths


@dataclass(frozen=True, kw_only=True)
class Score(Command):
    """TRAK scores of a pool for one or several targets: one column a target, higher = more helpful.

    Give features (from `thresher featurize`), or prepared examples and --models; then features are made beside --out.
    """

    pool: Path
    """The pool's features, or a prepared pool."""
    targets: tuple[str, ...]
    """NAME=PATH of each target's features, or of prepared targets."""
    out: Path
    """Where the scores artefact goes (scores.parquet: id, domain, a column a target)."""
    models: tuple[str, ...] = ()
    """With prepared examples: the proxies to attribute with."""
    backend: str = "thresher"
    """thresher, or traker: the traker package (slow; with prepared examples and --models)."""
    damping: float | Literal["loo"] | None = None
    """A multiple of the kernel's mean diagonal (None: 1), or loo: chosen on the pool by leave-one-out prediction."""
    q: str = "mean"
    """mean: multiply by the mean of 1 - p over checkpoints (TRAK); none: do not."""
    convention: str = "thresher"
    """thresher, traker (its kernel's normaliser) or dattri."""
    top: int = 0
    """Also keep the so many most helpful and most harmful examples for every single target example (top.parquet)."""
    k: int = 512
    """With prepared examples: numbers a gradient is projected to."""
    projection: str = "two-sided"
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.artifacts import open_artifact
        from thresher.attribution.features import open_features
        from thresher.attribution.scores import check_names, score
        from thresher.errors import InputError

        targets = named_paths(self.targets, "--targets")
        check_names(targets)
        if self.backend not in ("thresher", "traker"):
            raise InputError(f"backend {self.backend!r} is unknown; pass thresher or traker")
        if self.backend == "traker":
            return made(self._with_traker(targets, progress))
        if open_artifact(self.pool).kind != "features":
            targets = {name: self._featurize(f"target-{name}", path, progress) for name, path in targets.items()}
            pool = self._featurize("pool", self.pool, progress)
        else:
            pool, targets = open_features(self.pool), {name: open_features(path) for name, path in targets.items()}
        artifact = score(
            pool,
            targets,
            out=self.out,
            damping=self.damping,
            q=self.q,
            convention=self.convention,
            top=self.top,
            progress=progress,
        )
        return made(artifact)

    def _featurize(self, name, path, progress):
        from thresher.attribution.features import featurize, open_features
        from thresher.cli.models import loaders_of
        from thresher.data.examples import open_examples

        artifact = featurize(
            loaders_of(self.models),
            open_examples(path),
            out=self.out.with_name(f"{self.out.name}-features") / name,
            projection=self.projection,
            k=self.k,
            seed=self.seed,
            device=self.device,
            progress=progress,
        )
        return open_features(artifact.path)

    def _with_traker(self, targets, progress):
        from thresher.attribution.traker_backend import score_with_traker
        from thresher.cli.models import loaders_of
        from thresher.data.examples import open_examples

        return score_with_traker(
            loaders_of(self.models),
            open_examples(self.pool),
            {name: open_examples(path) for name, path in targets.items()},
            out=self.out,
            k=self.k,
            seed=self.seed,
            progress=progress,
        )


COMMAND = Score
