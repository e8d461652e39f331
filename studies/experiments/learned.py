"""Whether a reference has learned more than token frequencies: its held-out loss beside those of tiny models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thresher.data.examples import Examples, TokenExamples
from thresher.data.examples.tokens import LabelledTextExamples
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.ngram import ngram_models
from thresher.studies.study import BASELINE


def ngram_losses(pool: Examples, tasks: Mapping[str, Examples]) -> dict[str, dict[str, float]]:
    """Of each task the mean loss of the `unigram` and the `bigram` model of a pool, weighed as a model's own is.

    Nothing for images and for texts with a class each.
    """
    if not isinstance(pool, TokenExamples) or isinstance(pool, LabelledTextExamples):
        return {}
    models = ngram_models(pool)
    return {
        name: {kind: float(evaluate(model, examples, device="cpu")["loss"].mean()) for kind, model in models.items()}
        for name, examples in tasks.items()
    }


def little_learned(rows: Sequence[Mapping[str, Any]], ngrams: Mapping[str, Mapping[str, float]]) -> str | None:
    """A sentence where a reference trained on random data is not below the bigram model, mean over the targets.

    `rows` are those of a validation's runs. None where it is, and where nothing is known.
    """
    losses = {name: [row["loss"] for row in rows if row["task"] == name and row["arm"] == BASELINE] for name in ngrams}
    own = {name: float(np.mean(values)) for name, values in losses.items() if values}
    if not own:
        return None
    mean = float(np.mean(list(own.values())))
    for kind, words in (("unigram", "single tokens"), ("bigram", "pairs of tokens")):
        bar = float(np.mean([ngrams[name][kind] for name in own]))
        if mean >= bar:
            return (
                f"the reference has learned little: on random data its held-out loss is {mean:.2f} nats a token, that "
                f"of a model that counts {words} in the pool {bar:.2f}; a gain may be one in token frequencies alone. "
                "Train it longer (tokens_per_parameter, epochs)"
            )
    return None
