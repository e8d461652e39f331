"""Gradients at the logits whose outer products are the true Fisher: of labels drawn from the model's own softmax.

The empirical Fisher, of the data's labels, is another matrix. Of a window with n predictions that counts for the share
a of its example, each prediction's p - onehot(y) is scaled by sqrt(a / n): the outer product of the sum estimates the
Hessian of the example's *mean* loss, whatever its length.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thresher.outputs import Batch
from thresher.seeds import numpy_rng


@dataclass(frozen=True)
class SampledLabels:
    """Of a batch of windows, each with a stream of its own: what is drawn does not depend on the batches."""

    seed: int
    numbers: Int[np.ndarray, "b"]
    """Of the windows, among all of the examples."""
    shares: Float[np.ndarray, "b"]
    """What each counts for in its example."""

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The gradient at each logit, of the logits' shape: 0 where nothing is predicted."""
        places, counts = predictions(logits, batch["labels"])
        uniforms = np.concatenate(
            [
                numpy_rng(self.seed, "label", int(number)).random(count)
                for number, count in zip(self.numbers, counts.tolist(), strict=True)
            ]
        )
        scales = np.sqrt(np.divide(self.shares, counts, out=np.zeros(len(counts)), where=counts > 0))
        chosen = logits[places]
        p = chosen.to(torch.promote_types(chosen.dtype, torch.float32)).softmax(dim=1)
        drawn = torch.searchsorted(p.cumsum(dim=1), torch.from_numpy(uniforms).to(p)[:, None])
        p.scatter_add_(1, drawn.clamp_(max=p.shape[1] - 1), torch.full_like(p[:, :1], -1))
        p *= torch.from_numpy(np.repeat(scales, counts)).to(p)[:, None]
        gradients = torch.zeros_like(logits)
        gradients[places] = p.to(logits.dtype)
        return gradients


def predictions(logits: Tensor, labels: Tensor) -> tuple[Bool[Tensor, "*places"], Int[np.ndarray, "b"]]:
    """Where logits [b, (t,) c] predict a label, and how many predictions each window of the batch has."""
    if logits.ndim == 2:
        return torch.ones_like(labels, dtype=torch.bool), np.ones(len(labels), dtype=np.int64)
    places = torch.zeros_like(labels, dtype=torch.bool)
    places[:, :-1] = labels[:, 1:] != -100
    return places, places.sum(dim=1).cpu().numpy()


def weights_of_predictions(logits: Tensor, labels: Tensor, shares: Float[np.ndarray, "b"]) -> Float[Tensor, "*places"]:
    """What the loss of each prediction counts for in the sum over examples of their mean losses; 0 elsewhere."""
    places, counts = predictions(logits, labels)
    each = np.divide(shares, counts, out=np.zeros(len(counts)), where=counts > 0)
    weights = torch.from_numpy(each).to(logits).view(-1, *[1] * (places.ndim - 1))
    return weights * places
