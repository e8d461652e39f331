"""Tensors of a model from a file, checked against the model's own by name and shape."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from thresher.errors import InputError

WEIGHTS = "model.safetensors"


def load_weights(model: nn.Module, file: Path) -> None:
    """Copy the tensors of a safetensors file into `model`.

    Raises InputError for a file that is not readable, and for one of another architecture, with the first difference.
    """
    tensors = own_tensors(model)
    try:
        with safe_open(file, framework="pt") as stored, torch.no_grad():
            shapes = {name: list(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
            refuse_other(file, shapes, {name: list(tensor.shape) for name, tensor in tensors.items()})
            for name, tensor in tensors.items():
                tensor.copy_(stored.get_tensor(name))
    except SafetensorError as error:
        raise InputError(f"{file} is not a readable safetensors file ({error}); make it again") from None


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a tied one, which goes by several names, under the first alone."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def refuse_other(file: Path, stored: dict[str, list[int]], wanted: dict[str, list[int]]) -> None:
    """Raise InputError unless the shapes stored in `file` are those wanted, name by name."""
    for name in [*wanted, *stored]:
        if stored.get(name) != wanted.get(name):
            there, needed = (f"{shapes[name]}" if name in shapes else "absent" for shapes in (stored, wanted))
            raise InputError(
                f"{file} is of another architecture: tensor {name} is {there} there, {needed} in this model; "
                "give the weights that belong to the model"
            )


def refuse_nonfinite(model: nn.Module, name: str) -> None:
    """Raise InputError for a model, known to the user as `name`, with parameters that are not finite."""
    for key, value in model.named_parameters():
        bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
        if bad:
            raise InputError(
                f"{name}: {bad:,} of the {value.numel():,} numbers in {key} are not finite; the model diverged or its "
                "file is damaged, give another"
            )
