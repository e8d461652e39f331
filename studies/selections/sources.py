"""What a selection may be made from: artefacts and models, and what has to be made of them once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from thresher.artifacts import Artifact
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import FeatureStore, open_features
from thresher.canonical import hash_json
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models.weights import Loaders, loaders_of
from thresher.scores import Scores, check_same_rows, open_scores
from thresher.selection.evidence import SENTENCES, check_embeddings
from thresher.studies.selections.given_embeddings import SentenceModel, can_embed
from thresher.studies.study import AttributionTable
from thresher.workspace import Workspace


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
    embeddings: str | None = None
    """Of texts, in place of the models' own: `column:NAME` or `sentence-transformers:MODEL` (`given_embeddings`)."""
    table: AttributionTable = field(default_factory=AttributionTable)
    """How features and scores are made where they are not given."""
    seed: int = 0

    def __post_init__(self) -> None:
        known = self._known
        if not known:
            raise InputError("nothing to select from; pass --scores, --pool or --features")
        (first, one), *others = known.items()
        for name, other in others:
            if list(other.ids) != list(one.ids):
                raise InputError("pool, scores and features are not of the same examples; give those of one pool")
            check_same_rows(f"what is given as {name}", other.numbered_by, f"the {first}", one.numbered_by)
        if self.embeddings is not None:
            check_embeddings(self.embeddings)
            if not all(map(can_embed, (self.pool, *self.targets.values()))):
                raise InputError(f"embeddings {self.embeddings!r} are of texts; give a prepared --pool of text")

    @property
    def ids(self) -> Sequence[str]:
        """Of the pool's examples."""
        return next(iter(self._known.values())).ids

    @property
    def domains(self) -> Any:
        """Of the pool's examples."""
        return next(iter(self._known.values())).domains

    @property
    def numbered_by(self) -> str | None:
        """The hash of the data whose rows the ids number; None where ids are the data's own, or nobody knows."""
        return next((one.numbered_by for one in self._known.values() if one.numbered_by is not None), None)

    @property
    def _known(self) -> dict[str, Any]:
        """What says which examples there are."""
        sides = {"pool": self.pool, "scores": self.opened_scores, "features": self.features}
        return {name: one for name, one in sides.items() if one is not None}

    @cached_property
    def lengths(self) -> np.ndarray:
        """What each example costs of a budget: tokens, or 1 of an image."""
        known = [
            own.lengths for own in (self.opened_scores, self.features) if own is not None and own.lengths is not None
        ]
        if self.pool is not None:
            known.insert(0, self.pool.lengths())
        if not known:
            raise InputError("these scores do not say how long their examples are; pass --pool")
        return np.asarray(known[0])

    @property
    def holds_images(self) -> bool:
        """Whether every example costs the same of a budget."""
        return bool((self.lengths == 1).all())

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The content hash of everything given, and how what is not given is made, where that is said."""
        named: dict[str, Any] = {"scores": self.scores, "features": self.features, "pool": self.pool}
        named |= {f"target {name}": examples for name, examples in self.targets.items()}
        named |= {f"target features {name}": store for name, store in self.target_features.items()}
        hashes = {name: one.content_hash for name, one in named.items() if one is not None}
        if self.sentence_model is not None:
            hashes["embeddings"] = self.sentence_model.content_hash
        if self.models and self.table != AttributionTable():
            hashes["attribution"] = hash_json([asdict(self.table), self.seed])
        return hashes | {f"model {m}": hash for m, (hash, _) in enumerate(self.loaders if self.models else [])}

    @cached_property
    def sentence_model(self) -> SentenceModel | None:
        """The model that embeds texts, where one is asked for by name."""
        name = self.embeddings or ""
        return SentenceModel(name, device=self.workspace.device) if name.startswith(SENTENCES) else None

    @cached_property
    def opened_scores(self) -> Scores | None:
        """The scores that were given, read."""
        return None if self.scores is None else open_scores(self.scores.path)

    @property
    def given_pool(self) -> Examples:
        """The pool, where there must be one."""
        assert self.pool is not None
        return self.pool

    @cached_property
    def pool_features(self) -> FeatureStore:
        """Features of the pool: those given, or made once."""
        return self.features if self.features is not None else self._featurized("pool", self.given_pool)

    @cached_property
    def stores(self) -> Mapping[str, FeatureStore]:
        """Features of each target: those given, or made once."""
        if self.target_features:
            return self.chosen(self.target_features)
        return {name: self._featurized(name, own) for name, own in self.chosen(self.targets).items()}

    @cached_property
    def loaders(self) -> Loaders:
        """The models, checked against pool and targets."""
        if self.pool is None:
            raise InputError("models judge prepared examples; give --pool too, or leave out --models")
        return loaders_of(self.models, self.pool, *self.targets.values())

    def _featurized(self, name: str, examples: Examples) -> FeatureStore:
        options = {"projection": self.table.projection, "k": self.table.k, "output": self.table.output}
        loaders = self.loaders
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

    def chosen(self, by_target: Mapping[str, Any]) -> dict[str, Any]:
        """Of what is there by target, that of the targets to select for."""
        unknown = [name for name in self.only if by_target and name not in by_target]
        if unknown:
            raise InputError(f"target {unknown[0]!r} is not there; pass targets among: {', '.join(by_target)}")
        return {name: one for name, one in by_target.items() if not self.only or name in self.only}
