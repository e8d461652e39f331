"""Selections from artefacts: the evidence a spec asks for, found or made from what was given, and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.embeddings import embeddings
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import FeatureStore, open_features
from thresher.attribution.scoring.scores import score
from thresher.attribution.scoring.similarity import gradient_norms, kernel_directions, mean_cosines
from thresher.data.examples import Examples, TokenExamples
from thresher.data.examples.tokens import LabelledTextExamples
from thresher.errors import InputError
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.weights import Loaders, loaders_of
from thresher.scores import Scores, open_scores
from thresher.selection.evidence import Evidence
from thresher.selection.methods import stages_of
from thresher.selection.select import select_by
from thresher.selection.selection import write_selection
from thresher.studies.study import AttributionTable
from thresher.workspace import Workspace

FROM_PREPARED = "--pool, --targets NAME=PATH and --models"
ADVICE = {
    "scores": f"pass --scores, or --features and --target-features, or {FROM_PREPARED} to make them",
    "loss": "pass --pool and --models, or --features",
    "gradient_norms": "pass --features, or --pool and --models to make them",
    "gradient_cosines": f"pass --features and --target-features NAME=PATH, or {FROM_PREPARED} to make them",
    "features": "pass --features, or --pool and --models to make them",
    "embeddings": "pass --pool and --models",
    "target_embeddings": f"pass {FROM_PREPARED}",
    "texts": "pass --pool, a prepared pool of text",
    "target_texts": "pass --targets NAME=PATH, prepared targets of text",
    "lengths": "pass --pool, or scores or features that know them",
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a selection may be made from; all of it optional, `pool`, `scores` or `features` at least."""

    workspace: Workspace
    """Where evidence that has to be made is kept, by what it is made from."""
    pool: Examples | None = None
    targets: Mapping[str, Examples] = field(default_factory=dict)
    models: Sequence[str] = ()
    scores: Artifact | None = None
    features: FeatureStore | None = None
    target_features: Mapping[str, FeatureStore] = field(default_factory=dict)
    only: Sequence[str] = ()
    """Targets to select for; none: all."""
    weights: Mapping[str, float] | None = None
    table: AttributionTable = field(default_factory=AttributionTable)
    """How features and scores are made where they are not given."""
    seed: int = 0

    def __post_init__(self) -> None:
        known = [one for one in (self.pool, self._scores, self.features) if one is not None]
        if not known:
            raise InputError("nothing to select from; pass --scores, --pool or --features")
        for other in known[1:]:
            if list(other.ids) != list(known[0].ids):
                raise InputError("pool, scores and features are not of the same examples; give those of one pool")

    @property
    def ids(self) -> Sequence[str]:
        return next(one.ids for one in (self.pool, self._scores, self.features) if one is not None)

    @property
    def domains(self) -> Any:
        return next(one.domains for one in (self.pool, self._scores, self.features) if one is not None)

    @cached_property
    def lengths(self) -> np.ndarray:
        """What each example costs of a budget: tokens, or 1 of an image."""
        known = [own.lengths for own in (self._scores, self.features) if own is not None and own.lengths is not None]
        if self.pool is not None:
            known.insert(0, self.pool.lengths())
        if not known:
            raise InputError("these scores do not say how long their examples are; pass --pool")
        return np.asarray(known[0])

    @property
    def holds_images(self) -> bool:
        return bool((self.lengths == 1).all())

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The content hash of everything given."""
        named: dict[str, Any] = {"scores": self.scores, "features": self.features, "pool": self.pool}
        named |= {f"target {name}": examples for name, examples in self.targets.items()}
        named |= {f"target features {name}": store for name, store in self.target_features.items()}
        hashes = {name: one.content_hash for name, one in named.items() if one is not None}
        return hashes | {f"model {m}": hash for m, (hash, _) in enumerate(self._loaders if self.models else [])}

    def evidence(self, seed: int) -> Evidence:
        """Evidence that is made when a method asks for it."""
        pool, targets, models, text = self.pool, self._chosen(self.targets), self.models, self._texts
        can_learn = pool is not None and bool(models)
        can_compare = bool(self.features and self.target_features) or (can_learn and bool(targets))
        has_text = isinstance(pool, TokenExamples)
        facts: dict[str, tuple[bool, Callable[[], Any]]] = {
            "scores": (self.scores is not None or can_compare, lambda: self._target_scores),
            "loss": (can_learn or self.features is not None, self._losses),
            "gradient_norms": (can_learn or self.features is not None, lambda: gradient_norms(self._pool_features)),
            "gradient_cosines": (can_compare, lambda: mean_cosines(self._pool_features, self._stores)),
            "features": (can_learn or self.features is not None, lambda: kernel_directions(self._pool_features)),
            "embeddings": (can_learn, lambda: embeddings_of(models, self._given_pool, self.workspace)),
            "target_embeddings": (
                can_learn and bool(targets),
                lambda: {name: embeddings_of(models, own, self.workspace) for name, own in targets.items()},
            ),
            "texts": (has_text, lambda: text(self._given_pool)),
            "target_texts": (
                bool(targets) and all(isinstance(own, TokenExamples) for own in targets.values()),
                lambda: {name: text(own) for name, own in targets.items()},
            ),
            "lengths": (True, lambda: self.lengths),
        }
        can = {name: make for name, (possible, make) in facts.items() if possible}
        return Evidence(self.ids, self.domains, seed=seed, weights=self.weights, advice=ADVICE, **can)

    @cached_property
    def _scores(self) -> Scores | None:
        return None if self.scores is None else open_scores(self.scores.path)

    @property
    def _given_pool(self) -> Examples:
        assert self.pool is not None
        return self.pool

    @property
    def _target_scores(self) -> Mapping[str, np.ndarray]:
        if self._scores is not None:
            return self._scores.of(self.only or None)
        made = score(
            self._pool_features,
            self._stores,
            out=self.workspace.place(
                "evidence/scores", self._pool_features.content_hash, list(self._stores), asdict(self.table)
            ),
            damping=self.table.damping,
            q=self.table.q,
            progress=self.workspace.progress,
        )
        return open_scores(made.path).of(None)

    @cached_property
    def _pool_features(self) -> FeatureStore:
        return self.features if self.features is not None else self._featurized("pool", self._given_pool)

    @cached_property
    def _stores(self) -> Mapping[str, FeatureStore]:
        """The targets' features."""
        if self.target_features:
            return self._chosen(self.target_features)
        return {name: self._featurized(name, own) for name, own in self._chosen(self.targets).items()}

    @cached_property
    def _loaders(self) -> Loaders:
        if self.pool is None:
            raise InputError("models judge prepared examples; give --pool too, or leave out --models")
        return loaders_of(self.models, self.pool, *self.targets.values())

    def _losses(self) -> np.ndarray:
        if self.features is not None:
            stored = [self.features.outputs(m)["loss"] for m in range(self.features.num_checkpoints)]
            return np.mean(stored, axis=0)
        return losses_of(self.models, self._given_pool, self.workspace)

    def _featurized(self, name: str, examples: Examples) -> FeatureStore:
        options = {"projection": self.table.projection, "k": self.table.k, "output": self.table.output}
        loaders = self._loaders
        hashes = [hash for hash, _ in loaders]
        made = featurize(
            loaders,
            examples,
            out=self.workspace.place(f"evidence/features-{name}", hashes, examples.content_hash, options, self.seed),
            seed=self.seed,
            device=self.workspace.device,
            progress=self.workspace.progress,
            **options,
        )
        return open_features(made.path)

    def _chosen(self, by_target: Mapping[str, Any]) -> dict[str, Any]:
        unknown = [name for name in self.only if by_target and name not in by_target]
        if unknown:
            raise InputError(f"target {unknown[0]!r} is not there; pass targets among: {', '.join(by_target)}")
        return {name: one for name, one in by_target.items() if not self.only or name in self.only}

    def _texts(self, examples: Examples) -> list[str]:
        """As they were written, in whole."""
        assert isinstance(examples, TokenExamples)
        return examples.texts(np.arange(len(examples)))


def select_from(
    sources: Sources,
    spec: str,
    *,
    out: Path,
    seed: int,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
    evidence: Evidence | None = None,
) -> Artifact:
    """The selection artefact of `spec` at `out`; several selections may share one `evidence` (of the same seed)."""
    budget = {"fraction": fraction, "count": count, "tokens": tokens}
    check_unit(spec, sources, tokens)
    return write_selection(
        lambda: select_by(spec, evidence or sources.evidence(seed), **budget),
        sources.ids,
        sources.domains,
        out=out,
        method=spec,
        config={**budget, "targets": list(sources.only), "weights": sources.weights},
        seed=seed,
        inputs=sources.inputs,
        lengths=sources.lengths,
    )


def check_unit(spec: str, sources: Sources, tokens: int | None) -> None:
    """Images have no tokens."""
    asked = tokens or next((stage.values["tokens"] for stage in stages_of(spec) if "tokens" in stage.values), None)
    if asked is not None and sources.holds_images:
        raise InputError(f"{asked} tokens asked for, but the pool holds images; pass a count or a fraction of them")


class _Whole(TokenExamples):
    """The same examples with every token counted, the prompt's too: an embedding is of all of a text."""

    @cached_property
    def spans(self) -> np.ndarray:
        spans = np.array(super().spans)
        spans[:, 1], spans[:, 2] = 0, spans[:, 0]
        return spans


def embeddings_of(models: Sequence[str], examples: Examples, workspace: Workspace) -> Float[np.ndarray, "n d"]:
    """Mean-pooled states before the last layer under each model, side by side."""
    is_text = isinstance(examples, TokenExamples) and not isinstance(examples, LabelledTextExamples)
    whole = _Whole(examples.artifact) if is_text else examples
    made = [
        _kept(
            "embeddings",
            hash,
            examples,
            workspace,
            lambda load=load: embeddings(load(), whole, device=workspace.device),
        )
        for hash, load in loaders_of(models, examples)
    ]
    return np.concatenate(made, axis=1)


def losses_of(models: Sequence[str], examples: Examples, workspace: Workspace) -> Float[np.ndarray, "n"]:
    """The loss of each example, the mean over models."""

    def losses(load: Any) -> np.ndarray:
        return evaluate(load(), examples, device=workspace.device, progress=workspace.progress)["loss"]

    made = [
        _kept("losses", hash, examples, workspace, lambda load=load: losses(load))
        for hash, load in loaders_of(models, examples)
    ]
    return np.mean(made, axis=0)


def _kept(kind: str, model: str, examples: Examples, workspace: Workspace, make: Any) -> np.ndarray:
    """What `make` gives, from disk if it was made before: an artefact of this kind with one array."""

    def write(draft: Draft) -> dict[str, int]:
        values = make()
        with draft.file(f"{kind}.npy") as file, open(file, "wb") as stream:
            np.save(stream, values)
        return {"num_examples": len(values)}

    inputs = {"model": model, "examples": examples.content_hash}
    out = workspace.place(f"evidence/{kind}", inputs)
    return np.load(build(out, kind=kind, config={}, seed=0, inputs=inputs, write=write).file(f"{kind}.npy"))
