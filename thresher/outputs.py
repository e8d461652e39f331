"""From a model and a batch to logits, and from logits to what is measured of each example.

A batch is a dict of tensors with the names `transformers` uses:
  language  `input_ids` [b, t], `labels` [b, t]: position j of `labels` is what position j - 1 predicts, -100 where
            nothing is predicted (padding, prompt), as in `transformers`
  vision    `pixel_values` [b, c, h, w] float, `labels` [b]
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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
    """p of the right class; for language the mean over predicted tokens."""
    doubt: Tensor
    """Q = 1 - p, also where p rounds to 1; for language the mean over predicted tokens."""
    correct: Tensor
    """1.0 where the right class has the largest logit; for language the share of such tokens."""


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    """Logits [b, c] or [b, t, v], of a `transformers` model, a torchvision model or any `nn.Module` of one tensor."""
    if "input_ids" in batch:
        named = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        # Keys and values kept for a next token would cost memory, and some models change them in place.
        output = model(**named, **({"use_cache": False} if _can_cache(type(model)) else {}))
    else:
        has_names = hasattr(model, "config") and hasattr(model, "main_input_name")
        with _plain_in_groups(model):
            images = batch["pixel_values"]
            output = model(pixel_values=images) if has_names else model(images)
    return output if isinstance(output, Tensor) else output.logits


@contextmanager
def _plain_in_groups(model: nn.Module) -> Iterator[None]:
    """Inside, every `GroupNorm` reads its input in torch's usual layout.

    Where channels lie last, as behind a convolution over images of one channel, torch before 2.14 ends the process when
    the gradient of the weight alone is asked for, and its first versions fail in forward-mode derivatives.
    """
    groups = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    hooks = [module.register_forward_pre_hook(_plain) for module in groups]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _plain(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0].contiguous(), *args[1:]) if args else args


@cache
def _can_cache(kind: type[nn.Module]) -> bool:
    return "use_cache" in inspect.signature(kind.forward).parameters


def outputs_of(logits: Tensor, labels: Tensor) -> Outputs:
    """Margins, losses, confidences of a batch; `margin` and `loss` can be differentiated, once.

    Language when logits are [b, t, v].
    """
    if logits.ndim == 3:
        return _language_outputs(logits, labels)
    logp, margin, doubt, correct = _per_prediction(logits, labels)
    return Outputs(margin, -logp, logp.exp().detach(), doubt, correct)


def _language_outputs(logits: Float[Tensor, "b t v"], labels: Tensor) -> Outputs:
    following = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], dim=1)
    predicted = following != -100
    counts = predicted.sum(dim=1).clamp(min=1)
    # Only the predicted positions: padding and prompts cost no vocabulary-sized work.
    places = predicted.flatten().nonzero()[:, 0]
    chosen = _Select.apply(logits.flatten(0, 1), places)
    logp, margin, doubt, correct = _per_prediction(chosen, following.flatten()[places])
    rows = places // labels.shape[1]

    def mean(values: Tensor) -> Tensor:
        return torch.zeros_like(counts, dtype=values.dtype).index_add(0, rows, values) / counts

    return Outputs(mean(margin), mean(-logp), mean(logp.exp().detach()), mean(doubt), mean(correct))


def _per_prediction(logits: Float[Tensor, "n v"], labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The log p, log-odds, 1 - p and correctness of each label."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logp, margin, doubt, correct = _Predictions.apply(logits, labels)
    return logp, margin, doubt, correct


class _Predictions(torch.autograd.Function):
    """log p, log(p / (1 - p)), 1 - p and correctness of each label, in few passes over the vocabulary.

    log(1 - p) = log(-expm1(log p)) is exact to float32 until p rounds to 1; from where it is close, the logsumexp over
    the other classes is what is meant, so those rows are computed that way.
    With r_j = p_j / (1 - p) for the other classes: d margin = onehot - r, d log p = (1 - p) (onehot - r).
    """

    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        log_probabilities = logits.log_softmax(dim=1)
        logp = log_probabilities.gather(1, labels[:, None])[:, 0]
        correct = (logp >= log_probabilities.amax(dim=1)).to(logits.dtype)
        log_rest = torch.log(-torch.expm1(logp.clamp(max=-1e-4)))
        saturated = (logp > -1e-3).nonzero()[:, 0]
        if len(saturated):
            others = log_probabilities[saturated].scatter(1, labels[saturated][:, None], -torch.inf)
            log_rest[saturated] = others.logsumexp(dim=1)
        ctx.save_for_backward(log_probabilities, labels, log_rest)
        doubt = log_rest.exp()
        ctx.mark_non_differentiable(doubt, correct)
        return logp, logp - log_rest, doubt, correct

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, logp_gradient: Tensor, margin_gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        log_probabilities, labels, log_rest = ctx.saved_tensors
        weight = (margin_gradient + logp_gradient * log_rest.exp())[:, None]
        gradient = (log_probabilities - log_rest[:, None]).exp_().mul_(-weight)
        return gradient.scatter_(1, labels[:, None], weight), None


class _Select(torch.autograd.Function):
    """Rows of a matrix at places that differ, whose gradient is then a plain copy."""

    @staticmethod
    def forward(ctx, values: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.num_rows = len(values)
        return values.index_select(0, places)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (places,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.num_rows, gradient.shape[1]).index_copy_(0, places, gradient), None
