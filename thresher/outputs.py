"""From a model and a batch to logits, and from logits to what is measured of each example.

A batch is a dict of tensors with the names `transformers` uses:
  language  `input_ids` [b, t], `labels` [b, t]: position j of `labels` is what position j - 1 predicts, -100 where
            nothing is predicted (padding, prompt), as in `transformers`
  vision    `pixel_values` [b, c, h, w] float, `labels` [b]
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Batch = dict[str, Tensor]


class Outputs(NamedTuple):
    """What is measured of each example of a batch, in float32, each of shape [b]."""

    margin: Tensor
    """f: log(p / (1 - p)) of the right class; for language the mean over predicted tokens (TRAK; DsDm)."""
    loss: Tensor
    """Cross-entropy, -log p; for language the mean over predicted tokens."""
    confidence: Tensor
    """p of the right class; for language the mean over predicted tokens. Q = 1 - confidence."""
    correct: Tensor
    """1.0 where the right class has the largest logit; for language the share of such tokens."""


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    """Logits [b, c] or [b, t, v], of a `transformers` model, a torchvision model or any `nn.Module` of one tensor."""
    if "input_ids" in batch:
        output = model(input_ids=batch["input_ids"])
    elif hasattr(model, "config") and hasattr(model, "main_input_name"):
        output = model(pixel_values=batch["pixel_values"])
    else:
        output = model(batch["pixel_values"])
    return output if isinstance(output, Tensor) else output.logits


def outputs_of(logits: Tensor, labels: Tensor) -> Outputs:
    """Margins, losses, confidences of a batch, differentiable in `margin` and `loss`; language when logits are [b, t, v]."""
    if logits.ndim == 3:
        return _language_outputs(logits[:, :-1], labels[:, 1:])
    logp, margin, correct = _per_prediction(logits.float(), labels)
    return Outputs(margin, -logp, logp.exp(), correct)


def _language_outputs(logits: Float[Tensor, "b t v"], labels: Tensor) -> Outputs:
    predicted = labels != -100
    # Only the predicted positions: padding and prompts cost no vocabulary-sized work.
    logp, margin, correct = _per_prediction(logits[predicted].float(), labels[predicted])
    rows = predicted.nonzero()[:, 0]
    counts = predicted.sum(dim=1).clamp(min=1).to(logp.dtype)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros_like(counts).index_add(0, rows, values) / counts

    return Outputs(mean(margin), mean(-logp), mean(logp.exp()), mean(correct))


def _per_prediction(logits: Float[Tensor, "n v"], labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p, log-odds and correctness of each label, from one logsumexp.

    log(p / (1 - p)) = log p - log(1 - p) with 1 - p = -expm1(log p): exact to float32 until p rounds to 1, where
    logsumexp over the other classes is what is meant, so those rows are computed that way.
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    logp = right - logits.logsumexp(dim=1)
    saturated = logp > -1e-3
    log_rest = torch.log(-torch.expm1(logp.clamp(max=-1e-4)))
    if bool(saturated.any()):
        others = logits[saturated].scatter(1, labels[saturated][:, None], -torch.inf).logsumexp(dim=1)
        full = logits[saturated].logsumexp(dim=1)
        log_rest = log_rest.index_put((saturated.nonzero()[:, 0],), others - full)
    correct = (right >= logits.max(dim=1).values).float().detach()
    return logp, logp - log_rest, correct
