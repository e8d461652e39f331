"""The tensors of a trained model's artefact, put into the model that its specification describes."""

from pathlib import Path

import torch
from torch import nn

from thresher.proxies.models.checkpoints import adapters
from thresher.proxies.models.checkpoints.tensors import WEIGHTS, load_weights, refuse_nonfinite, refuse_other


def load_trained(model: nn.Module, source: str, folder: Path) -> None:
    """Copy the weights of a `model` artefact into `model`: all tensors, or of adapters (`source` lora) theirs alone.

    Raises InputError for weights of another architecture, and for those that are not finite.
    """
    if source == "lora":
        _copy_adapters(model, folder)
    else:
        load_weights(model, folder / WEIGHTS)
    refuse_nonfinite(model, str(folder))


def _copy_adapters(model: nn.Module, folder: Path) -> None:
    """As `load_weights`, of adapters, whose names in the file are `peft`'s."""
    stored, tensors = adapters.read(folder), adapters.tensors_of(model)
    shapes, wanted = ({name: list(tensor.shape) for name, tensor in some.items()} for some in (stored, tensors))
    refuse_other(folder / adapters.FILE, shapes, wanted)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(stored[name])
