"""What models make of labelled examples: the class they predict, how sure they are, and what they give the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int

from thresher.data.examples import Examples, Labelled
from thresher.devices import pick_device
from thresher.outputs import logits_of
from thresher.progress import SILENT, Progress
from thresher.proxies.models.weights import loaders_of

BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Of m examples, from the mean of the models' probabilities."""

    predicted: Int[np.ndarray, "m"]
    """Numbers of classes."""
    confidence: Float[np.ndarray, "m"]
    """The probability of the predicted class, 0 to 1."""
    given: Float[np.ndarray, "m"]
    """The probability of the label, 0 to 1."""


def predict(
    models: Sequence[str],
    examples: Examples,
    rows: Int[np.ndarray, "m"] | None = None,
    *,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Predictions | None:
    """What the models predict for the examples at `rows` (None: all); None for examples without classes, or no model.

    Raises InputError for models that cannot read the examples.
    """
    if not models or not isinstance(examples, Labelled):
        return None
    rows = np.arange(len(examples)) if rows is None else rows
    target, total = pick_device(device), np.zeros((len(rows), len(examples.classes)))
    loaders = loaders_of(models, examples)
    with progress.task("predictions", len(loaders) * len(rows)) as advance, torch.no_grad():
        for _, load in loaders:
            model = load().to(target).eval()
            for start in range(0, len(rows), BATCH):
                batch = {key: value.to(target) for key, value in examples.batch(rows[start : start + BATCH]).items()}
                logits = cast(torch.Tensor, logits_of(model, batch)).float()[:, : total.shape[1]]
                total[start : start + BATCH] += logits.softmax(dim=1).cpu().numpy()
                advance(len(logits))
    mean, labels = total / len(loaders), examples.labels[rows]
    return Predictions(mean.argmax(axis=1), mean.max(axis=1), mean[np.arange(len(rows)), labels])
