"""What scorers work from: models, a pool, and how gradients are read; what several of them need is made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from thresher.attribution.curvature.ekfac import DAMPING, Damping
from thresher.attribution.curvature.inverse import Solving
from thresher.attribution.curvature.store import CurvatureStore, fit_curvature, open_curvature
from thresher.attribution.features.featurize import Scales, featurize
from thresher.attribution.features.store import FeatureStore, open_features
from thresher.attribution.gradients.projection import AUTO
from thresher.attribution.gradients.views import viewed
from thresher.attribution.scoring.options import Options
from thresher.data.examples import Examples
from thresher.proxies.models.weights import Loaders, loaders_of, specs_of
from thresher.proxies.training.optimizer_state import second_moment_scales, second_moments_file
from thresher.studies.study import AttributionTable
from thresher.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """How checkpoints are turned into scores."""

    k: int | None = None
    projection: str = "auto"
    views: tuple[str, ...] = ()
    """Of images: what features are averaged over, and the gradients of dual, direction, ekfac and ekfac-cg."""
    damping: float | str | None = None
    """Of TRAK's kernel and its kin (trak, dual, direction, trackstar), a multiple of its mean diagonal, or loo."""
    curvature_damping: Damping = DAMPING
    """Of the ekfac scorers, a multiple of each group's mean eigenvalue; one number, or by kind of group."""
    q: str | None = "sqrt"
    seed: int = 0
    output: str = "margin"
    """What is asked of a target: margin or loss."""
    goal: str = "selection"
    """Of targets as a whole: selection or labels."""
    parameters: str | None = None
    """A regular expression; only the gradients of the parameters it finds."""
    sample: int = 2000
    """Pool examples that stand for the pool: in the kernel of `direction`, in the factors of `ekfac`."""
    steps: int = 20
    """Of conjugate gradients, in `ekfac-cg`."""
    window: int | None = None
    """Last steps of training that `metagradient` and `adamw-influence` ask about; None: all."""
    rank: int | None = None
    """Of the ekfac scorers, for many targets: solve for so many combinations of them; None: for each."""
    memory_gb: float = 4.0
    batch_tokens: int | None = None
    top: int = 0
    """Of dual: the so many most helpful and most harmful examples of each target example are kept too."""
    per_token: int = 0
    """Of direction, ekfac and ekfac-cg: which tokens carried the scores of the so many highest and lowest of each
    target is kept too."""


def attribution_of(table: AttributionTable, seed: int) -> Attribution:
    """What a study's `[attribution]` says of scoring."""
    names = ("k", "projection", "damping", "curvature_damping", "q", "output")
    same = {name: getattr(table, name) for name in names}
    return Attribution(views=tuple(table.views), seed=seed, **same)


class Basis:
    """Models and a pool, whose features are made when a scorer first needs them and found again by the next."""

    def __init__(
        self,
        models: Sequence[Path | str],
        pool: Examples,
        settings: Attribution,
        workspace: Workspace,
        *,
        loaders: Loaders | None = None,
        indices: Sequence[np.ndarray] | None = None,
    ) -> None:
        """`loaders`: of models that have no name; `indices`: what of the pool each was trained on, where not on all."""
        self.models, self._given = [str(model) for model in models], loaders
        self.indices = [None] * len(self.models) if indices is None else list(indices)
        self.pool, self.settings, self.workspace = pool, settings, workspace

    @cached_property
    def loaders(self) -> Loaders:
        """(content hash, loader) of each model. Raises InputError for one that cannot read the pool."""
        return loaders_of(self.models, self.pool) if self._given is None else self._given

    @property
    def inputs(self) -> dict[str, str]:
        """The content hashes of pool and models, as artefacts record what they are made from."""
        hashes = [hash for hash, _ in self.loaders] if self.num_models else []
        return {"pool": self.pool.content_hash} | {f"model {m}": hash for m, hash in enumerate(hashes)}

    @property
    def num_models(self) -> int:
        """How many models; texts are compared without."""
        return len(self.models) if self._given is None else len(self._given)

    def check(self, *targets: Examples) -> None:
        """Raise InputError for targets that the models cannot read, or would read as something else than the pool."""
        if self.models and self._given is None:  # loaders are made for what they read
            specs_of(self.models, self.pool, *targets)

    @cached_property
    def pool_seen(self) -> Examples:
        """The pool as scorers that read gradients see it: in all its views."""
        return self.seen(self.pool)

    def seen(self, examples: Examples) -> Examples:
        """Examples in the views that are asked for. Raises InputError for views of texts."""
        return viewed(examples, self.settings.views)

    @cached_property
    def pool_features(self) -> FeatureStore:
        """Features of the pool."""
        return self.features("pool", self.pool)

    @cached_property
    def scales(self) -> list[Scales] | None:
        """The second moments that the training of each model kept; None unless all have them."""
        files = [second_moments_file(model) for model in self.models]
        if not files or None in files:
            return None
        return [(found[0], partial(second_moment_scales, found[1])) for found in files if found is not None]

    @property
    def reading(self) -> dict[str, Any]:
        """What scorers without features are given: options, and where progress goes."""
        own = self.settings
        options = Options(
            damping=own.damping if isinstance(own.damping, float | int) else None,
            q=own.q,
            goal=own.goal,
            output=own.output,
            parameters=own.parameters,
            memory_gb=own.memory_gb,
            batch_tokens=own.batch_tokens,
            device=self.workspace.device,
        )
        return {"options": options, "progress": self.workspace.progress}

    def curving(self, steps: bool) -> dict[str, Any]:
        """What scorers by inverse curvature are given, with conjugate gradients or without."""
        own = self.settings
        solving = Solving(damping=own.curvature_damping, sample=own.sample, steps=own.steps if steps else 0)
        more = {"curvature": self.curvature, "rank": own.rank, "seed": own.seed}
        return {"solving": solving, **more, **self.reading}

    @cached_property
    def curvature(self) -> CurvatureStore:
        """EK-FAC factors of the models, from `settings.sample` examples of the pool."""
        own, workspace = self.settings, self.workspace
        hashes = [content_hash for content_hash, _ in self.loaders]
        made = fit_curvature(
            self.loaders,
            self.pool_seen,
            out=workspace.place("curvature", hashes, self.pool_seen.content_hash, own.sample, own.seed, own.parameters),
            sample=own.sample,
            seed=own.seed,
            parameters=own.parameters,
            batch_tokens=own.batch_tokens,
            device=workspace.device,
            progress=workspace.progress,
        )
        return open_curvature(made.path)

    def features(self, name: str, examples: Examples, scales: Sequence[Scales] | None = None) -> FeatureStore:
        """Features of `examples` under the models; `name` is that of their folder.

        With `scales` of gradients multiplied by them, which need a projection of whole gradients: sjlt unless another
        is asked for.
        """
        options: dict[str, Any] = {key: getattr(self.settings, key) for key in ("k", "projection", "seed", "output")}
        options |= {key: value for key in ("parameters", "batch_tokens") if (value := getattr(self.settings, key))}
        options |= {"views": self.settings.views} if self.settings.views else {}
        hashes = [content_hash for content_hash, _ in self.loaders]
        if scales is not None:
            options["projection"] = "sjlt" if options["projection"] == AUTO else options["projection"]
            hashes += [content_hash for content_hash, _ in scales]
        made = featurize(
            self.loaders,
            examples,
            out=self.workspace.place(f"features/{name}", hashes, examples.content_hash, options),
            device=self.workspace.device,
            progress=self.workspace.progress,
            executor=self.workspace.executor,
            scales=scales,
            **options,
        )
        return open_features(made.path)
