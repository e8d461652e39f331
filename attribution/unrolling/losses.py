"""The loss of each prediction of a batch, at parameters of one's own, so that it can be differentiated any way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.outputs import Batch, logits_of


class Predictions(NamedTuple):
    """Cross-entropy of each prediction, in nats, and the number of the example that it belongs to."""

    losses: Float[Tensor, "p"]
    owners: Int[Tensor, "p"]


class Logits(NamedTuple):
    """Logits of each prediction, its label, and the number of its example."""

    logits: Float[Tensor, "p v"]
    labels: Int[Tensor, "p"]
    owners: Int[Tensor, "p"]


def predictions_of(
    model: nn.Module, parameters: Mapping[str, Tensor], batch: Batch, owners: Int[Tensor, "b ..."]
) -> Predictions:
    """Losses of a batch under `parameters`; the model's own take the place of those that are not given."""
    logits, labels, whose = logits_at(model, parameters, batch, owners)
    return Predictions(logits.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0], whose)


def logits_at(model: nn.Module, parameters: Mapping[str, Tensor], batch: Batch, owners: Int[Tensor, "b ..."]) -> Logits:
    """The rows of the logits that predict something, under `parameters`, in float32 or better."""
    with twice_differentiable():
        named = {f"model.{name}": value for name, value in parameters.items()}
        logits = torch.func.functional_call(_WithLogits(model), named, (batch,))
    labels = batch["labels"]
    if logits.ndim == 3:
        # Position j of the labels is what position j - 1 predicts.
        logits, labels = logits[:, :-1], labels[:, 1:]
        owners = owners[:, None].expand(labels.shape) if owners.ndim == 1 else owners[:, 1:]
    is_predicted = labels != -100
    logits = logits[is_predicted]
    return Logits(
        logits.to(torch.promote_types(logits.dtype, torch.float32)), labels[is_predicted], owners[is_predicted]
    )


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, attention is computed by operations that can be differentiated twice, and forward."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def randomness(device: torch.device) -> list[Tensor]:
    """The states of the generators that a forward pass on `device` may draw from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_randomness(states: list[Tensor], device: torch.device) -> None:
    """Put the generators back to what `randomness` gave."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


class _WithLogits(nn.Module):
    """A model whose forward pass gives its logits, for `functional_call`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, batch: Batch) -> Tensor:
        return logits_of(self.model, batch)
