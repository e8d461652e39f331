"""From a batch to the number that training makes small, and what a whole pass through the model is wrapped in."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from thresher.errors import InputError
from thresher.outputs import Batch, logits_of
from thresher.proxies.models.spec import Spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.head import language_loss

Loss = Callable[[nn.Module, Batch, Tensor | None, int | None], Tensor]


class Objective(nn.Module):
    """A model and its loss as one module, so that what wraps a forward pass wraps all of it."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, weights: Tensor | None, total: int | None) -> Float[Tensor, ""]:
        """The loss of a batch, with the arguments of `training_loss`."""
        return self.loss(self.model, batch, weights, total)


def objective_of(model: nn.Module, spec: Spec, config: TrainConfig, device: torch.device) -> Objective:
    """The objective that `config` trains; the model's activations are checkpointed and it is compiled as `config` says.

    Both change the model in place. Raises InputError where the model cannot checkpoint its activations, and where
    compiling does not work on this machine.
    """
    is_ladder = spec["source"] == "ladder"
    if config.activation_checkpointing:
        _checkpoint_activations(model, spec["name"])
    if config.compile:
        check_compiler(device)
        # In place: parameters keep their names. The ladder's loss calls the body by itself.
        body: Any = model.base_model if is_ladder else model
        body.compile()
    return Objective(model, language_loss if is_ladder else training_loss)


def training_loss(
    model: nn.Module, batch: Batch, weights: Float[Tensor, "b ..."] | None, total: int | None = None
) -> Float[Tensor, ""]:
    """The weighted cross-entropy of a batch in nats, `sum_i w_i sum_j -log p_ij / total`, linear in the weights.

    Weights are of examples [b], or of the tokens that are predicted [b, t]; None means 1. By default `total` is the
    batch's number of predictions, so that the loss is their mean.
    """
    logits, labels = logits_of(model, batch), batch["labels"]
    if logits.ndim == 3:
        # Shifted labels in place of shifted logits: no copy of the largest tensor.
        labels = F.pad(labels[:, 1:], (0, 1), value=-100)
    logits = logits.float().flatten(0, -2)
    if weights is None:
        if total is None:
            return F.cross_entropy(logits, labels.flatten(), reduction="sum") / (labels != -100).sum().clamp(min=1)
        return F.cross_entropy(logits, labels.flatten(), reduction="sum") / max(1, total)
    losses = F.cross_entropy(logits, labels.flatten(), reduction="none").view(len(labels), -1)
    count = (labels != -100).sum() if total is None else torch.tensor(total)
    return (losses * of_predictions(weights, losses)).sum() / count.clamp(min=1)


def of_predictions(weights: Float[Tensor, "b ..."], losses: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Weights of examples [b], or of tokens [b, t], put where the model predicts each token: one place earlier."""
    if weights.ndim == 1:
        return weights[:, None].expand(losses.shape)
    return F.pad(weights[:, 1:], (0, 1))


def num_predictions(batch: Batch) -> int:
    """How many labels of a batch are predicted: those that are not -100, of text without the first position's."""
    labels = batch["labels"][:, 1:] if batch["labels"].ndim == 2 else batch["labels"]
    return int((labels != -100).sum())


def check_compiler(device: torch.device) -> None:
    """Compile one addition; raises InputError where that fails, mostly because there is no compiler."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(
            f"compile does not work on {device.type} here ({type(error).__name__}: {reason}); "
            "install a C++ compiler (on a GPU also triton), or train without compile"
        ) from None


def _checkpoint_activations(model: Any, name: str) -> None:
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise InputError(
            f"model {name!r} ({type(model).__name__}) has no activation checkpointing; train it without, "
            "with accumulate for less memory"
        )
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:  # transformers before 5.2 or so
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
