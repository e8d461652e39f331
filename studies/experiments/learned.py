"""Whether a reference has learned more than token frequencies: its held-out loss beside those of tiny models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thresher.data.examples import Examples, LabelledTextExamples, TokenExamples
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


def on_random_data(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Task -> the mean loss of the references that a validation trained on random data, from the rows of its runs."""
    of_random: dict[str, list[float]] = {}
    for row in rows:
        if row["arm"] == BASELINE:
            of_random.setdefault(row["task"], []).append(row["loss"])
    return {task: float(np.mean(losses)) for task, losses in of_random.items()}


def little_learned(
    losses: Mapping[str, float], ngrams: Mapping[str, Mapping[str, float]], data: str = "on random data"
) -> str | None:
    """A sentence where a reference is not below the bigram model, mean over the tasks that `ngrams` has.

    `losses` are the reference's by task, trained on what `data` says. None where it is below, and where nothing is
    known.
    """
    names = [name for name in ngrams if name in losses]
    if not names:
        return None
    mean = float(np.mean([losses[name] for name in names]))
    for kind, words in (("unigram", "single tokens"), ("bigram", "pairs of tokens")):
        bar = float(np.mean([ngrams[name][kind] for name in names]))
        if mean >= bar:
            return (
                f"the reference has learned little: {data} its held-out loss is {mean:.2f} nats a token, that "
                f"of a model that counts {words} in the pool {bar:.2f}; a gain may be one in token frequencies alone. "
                "Train it longer"
            )
    return None
