"""The evidence that a spec may ask for, each kind made from sources when a method first asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Draft, build
from thresher.attribution.embeddings import embeddings
from thresher.attribution.scoring.scores import score
from thresher.attribution.scoring.similarity import gradient_norms, kernel_directions, mean_cosines
from thresher.data.examples import Examples, LabelledTextExamples, TokenExamples
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.weights import loaders_of
from thresher.scores import open_scores
from thresher.selection.evidence import COLUMN, Evidence
from thresher.studies.scoring.basis import Basis, attribution_of
from thresher.studies.scoring.score import score_by
from thresher.studies.selections.given_embeddings import column_embeddings
from thresher.studies.selections.sources import Sources
from thresher.workspace import Workspace

FROM_PREPARED = "--pool, --targets NAME=PATH and --models"


def evidence_of(sources: Sources, seed: int) -> Evidence:
    """All kinds of evidence that `sources` can give; `seed` is of the methods that draw."""
    facts = {name: partial(fact.make, sources) for name, fact in FACTS.items() if fact.is_possible(sources)}
    advice = {name: fact.advice for name, fact in FACTS.items()}
    return Evidence(sources.ids, sources.domains, seed=seed, weights=sources.weights, advice=advice, **facts)


def target_scores(sources: Sources) -> Mapping[str, Float[np.ndarray, "n"]]:
    """Target -> scores of the pool: those given, or made from features once."""
    if sources.opened_scores is not None:
        return sources.opened_scores.of(sources.only or None)
    stores = {name: store.content_hash for name, store in sources.stores.items()}
    made_from = [sources.pool_features.content_hash, list(stores), list(stores.values()), asdict(sources.table)]
    scores = score(
        sources.pool_features,
        sources.stores,
        out=sources.workspace.place("evidence/scores", *made_from),
        damping=sources.table.damping,
        q=sources.table.q,
        progress=sources.workspace.progress,
    )
    return open_scores(scores.path).of(None)


def scored_by(sources: Sources, scorer: str) -> Mapping[str, Float[np.ndarray, "n"]]:
    """Target -> scores of the pool by a scorer of a name, made once."""
    table, targets = sources.table, sources.chosen(sources.targets)
    settings = attribution_of(table, sources.seed)
    basis = Basis(sources.models, sources.given_pool, settings, sources.workspace)
    made_from = [basis.inputs, {name: examples.content_hash for name, examples in targets.items()}, asdict(settings)]
    out = sources.workspace.place(f"evidence/scores-{scorer}", *made_from)
    return open_scores(score_by(scorer, basis, targets, out=out).path).of(None)


def losses(sources: Sources) -> Float[np.ndarray, "n"]:
    """Loss of every pool example, in nats a predicted token, the mean over models."""
    if sources.features is not None:
        stored = [sources.features.outputs(m)["loss"] for m in range(sources.features.num_checkpoints)]
        return np.mean(stored, axis=0)
    return losses_of(sources.models, sources.given_pool, sources.workspace)


def target_embeddings(sources: Sources) -> Mapping[str, Float[np.ndarray, "m d"]]:
    """Target -> the embedding of each of its examples."""
    return {name: _embeddings(sources, examples) for name, examples in sources.chosen(sources.targets).items()}


def _embeddings(sources: Sources, examples: Examples) -> Float[np.ndarray, "n d"]:
    """Those that were asked for by name, else the models' own."""
    name, workspace = sources.embeddings, sources.workspace
    if name is None:
        return embeddings_of(sources.models, examples, workspace)
    if name.startswith(COLUMN):
        return column_embeddings(name, examples)
    model = sources.sentence_model
    assert model is not None
    return _kept("embeddings", model.content_hash, examples, workspace, lambda: model(examples))


def texts(examples: Examples) -> list[str]:
    """Documents as they were written, in whole."""
    assert isinstance(examples, TokenExamples)
    return examples.texts(np.arange(len(examples)))


def _can_learn(sources: Sources) -> bool:
    return sources.pool is not None and bool(sources.models)


def _can_featurize(sources: Sources) -> bool:
    return sources.features is not None or _can_learn(sources)


def _can_compare(sources: Sources) -> bool:
    has_features = bool(sources.features and sources.target_features)
    return has_features or (_can_learn(sources) and bool(sources.targets))


def _can_embed(sources: Sources) -> bool:
    return sources.embeddings is not None or _can_learn(sources)


def _can_embed_targets(sources: Sources) -> bool:
    return _can_embed(sources) and bool(sources.targets)


def _has_texts(sources: Sources) -> bool:
    return isinstance(sources.pool, TokenExamples)


def _has_target_texts(sources: Sources) -> bool:
    targets = sources.chosen(sources.targets).values()
    return bool(targets) and all(isinstance(examples, TokenExamples) for examples in targets)


class Fact(NamedTuple):
    """One kind of evidence: how it is made, when it can be, and what to pass where it cannot."""

    make: Callable[..., Any]
    """From the sources, and of scores by others from the name of the scorer."""
    is_possible: Callable[[Sources], bool]
    advice: str


FACTS = {
    "scores": Fact(
        target_scores,
        lambda sources: sources.scores is not None or _can_compare(sources),
        f"pass --scores, or --features and --target-features, or {FROM_PREPARED} to make them",
    ),
    "loss": Fact(losses, _can_featurize, "pass --pool and --models, or --features"),
    "gradient_norms": Fact(
        lambda sources: gradient_norms(sources.pool_features),
        _can_featurize,
        "pass --features, or --pool and --models to make them",
    ),
    "scored_by": Fact(
        scored_by, lambda sources: _can_learn(sources) and bool(sources.targets), f"pass {FROM_PREPARED}"
    ),
    "gradient_cosines": Fact(
        lambda sources: mean_cosines(sources.pool_features, sources.stores),
        _can_compare,
        f"pass --features and --target-features NAME=PATH, or {FROM_PREPARED} to make them",
    ),
    "features": Fact(
        lambda sources: kernel_directions(sources.pool_features),
        _can_featurize,
        "pass --features, or --pool and --models to make them",
    ),
    "embeddings": Fact(
        lambda sources: _embeddings(sources, sources.given_pool),
        _can_embed,
        "pass --pool and --models, or --embeddings",
    ),
    "target_embeddings": Fact(target_embeddings, _can_embed_targets, f"pass {FROM_PREPARED}"),
    "texts": Fact(lambda sources: texts(sources.given_pool), _has_texts, "pass --pool, a prepared pool of text"),
    "target_texts": Fact(
        lambda sources: {name: texts(examples) for name, examples in sources.chosen(sources.targets).items()},
        _has_target_texts,
        "pass --targets NAME=PATH, prepared targets of text",
    ),
    "lengths": Fact(
        lambda sources: sources.lengths, lambda _: True, "pass --pool, or scores or features that know them"
    ),
}


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
