"""What selections ask of models: embeddings and losses of examples, kept as artefacts."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Draft, build
from thresher.attribution.quality.baselines import embeddings
from thresher.data.examples import Examples, TokenExamples
from thresher.data.text.labelled_text import LabelledTextExamples
from thresher.proxies import evaluate
from thresher.proxies.models.loaders import loaders_of
from thresher.workspace import Workspace


class _Whole(TokenExamples):
    """The same examples with every token counted, the prompt's too: an embedding is of all of a text."""

    @cached_property
    def spans(self) -> np.ndarray:
        spans = np.array(super().spans)
        spans[:, 1], spans[:, 2] = 0, spans[:, 0]
        return spans


def embeddings_of(models: Sequence[str], examples: Examples, space: Workspace) -> Float[np.ndarray, "n d"]:
    """Mean-pooled states before the last layer under each model, side by side."""
    is_text = isinstance(examples, TokenExamples) and not isinstance(examples, LabelledTextExamples)
    whole = _Whole(examples.artifact) if is_text else examples
    made = [
        _kept("embeddings", hash, examples, space, lambda load=load: embeddings(load(), whole, device=space.device))
        for hash, load in loaders_of(models, examples)
    ]
    return np.concatenate(made, axis=1)


def losses_of(models: Sequence[str], examples: Examples, space: Workspace) -> Float[np.ndarray, "n"]:
    """The loss of each example, the mean over models."""

    def losses(load: Any) -> np.ndarray:
        return evaluate(load(), examples, device=space.device, progress=space.progress)["loss"]

    made = [
        _kept("losses", hash, examples, space, lambda load=load: losses(load))
        for hash, load in loaders_of(models, examples)
    ]
    return np.mean(made, axis=0)


def _kept(kind: str, model: str, examples: Examples, space: Workspace, make: Any) -> np.ndarray:
    """What `make` gives, from disk if it was made before: an artefact of this kind with one array."""

    def write(draft: Draft) -> dict[str, int]:
        values = make()
        with draft.file(f"{kind}.npy") as file, open(file, "wb") as stream:
            np.save(stream, values)
        return {"num_examples": len(values)}

    inputs = {"model": model, "examples": examples.content_hash}
    out = space.place(f"evidence/{kind}", inputs)
    return np.load(build(out, kind=kind, config={}, seed=0, inputs=inputs, write=write).file(f"{kind}.npy"))
