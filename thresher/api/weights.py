"""The models of an attribution: the user's own left as it was, and checkpoints loaded into a copy of it."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thresher.errors import InputError

NESTED = ("state_dict", "model_state_dict", "model")
"""Where training programs keep the weights in what they save."""
WRAPPERS = ("module.", "_orig_mod.")
FILES = ("model.safetensors", "pytorch_model.bin")


def bare(model: Any) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel or torch.compile. Raises InputError for anything else."""
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = inner.module
    if not isinstance(inner, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; pass a torch.nn.Module, such as a loaded checkpoint")
    return inner


class Checkpoints:
    """The checkpoints of one architecture, one in memory at a time."""

    def __init__(self, model: nn.Module, sources: Sequence[Any] | None, device: torch.device) -> None:
        """`sources` (None: the model's own weights) are state dicts, files or modules. Raises InputError for none."""
        if sources is not None and not isinstance(sources, list | tuple):
            raise InputError(f"checkpoints is a {type(sources).__name__}; pass a list of state dicts, paths or modules")
        if sources is not None and len(sources) == 0:
            raise InputError("checkpoints is empty; pass at least one, or leave it out for the model's own weights")
        self.sources = sources
        on = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
        is_there = all(other.type == device.type and device.index in (None, other.index) for other in on)
        self.model = model if sources is None and is_there else copy.deepcopy(model).to(device)

    def __len__(self) -> int:
        return 1 if self.sources is None else len(self.sources)

    def load(self, number: int) -> nn.Module:
        """The model with the weights of one checkpoint. Raises InputError where they are not of its architecture."""
        if self.sources is not None:
            load_into(self.model, self.sources[number], f"checkpoint {number}")
        return self.model


def load_into(model: nn.Module, source: Any, name: str) -> None:
    """Give `model` the weights of `source`: a module, a state dict or the path of a file or folder of one."""
    state = _unwrapped(_state_of(source, name), set(model.state_dict()))
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        # Tied weights are stored once in .safetensors.
        tied = set(getattr(model, "_tied_weights_keys", None) or ())
        missing, unexpected = set(model.state_dict()) - set(state), set(state) - set(model.state_dict())
        if not missing or unexpected or not missing <= tied:
            raise InputError(
                f"{name} does not fit the model ({_reason(error)}); give one of its architecture"
            ) from None
        _load_tied(model, state, name)


@contextmanager
def borrowed(model: nn.Module, pattern: str | None) -> Iterator[nn.Module]:
    """The model in evaluation mode, gradients on for the trainable parameters whose name matches; then as it was.

    Raises InputError where none matches.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        matches = re.compile(pattern or "").search
    except re.error as error:
        raise InputError(f"parameters {pattern!r} is no regular expression: {error}; correct it") from None
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    chosen = {
        id(parameter)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.requires_grad and matches(name)
    }
    if not chosen:
        raise InputError(
            f"the model has no trainable parameter that matches {pattern!r}; its names look like: "
            f"{', '.join(names[:3]) or '(none at all)'}"
            if pattern
            else "the model has no trainable parameter; call model.requires_grad_(True)"
        )
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in chosen)
        model.eval()
        yield model
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def num_trainable(model: nn.Module) -> int:
    """Numbers in the parameters that are attributed to."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _state_of(source: Any, name: str) -> Mapping[str, Tensor]:
    if isinstance(source, str | Path):
        source = _read(Path(source).expanduser())
    if isinstance(source, nn.Module):
        return source.state_dict()
    for key in NESTED:
        if isinstance(source, Mapping) and isinstance(source.get(key), Mapping):
            source = source[key]
    if not isinstance(source, Mapping) or not all(isinstance(value, Tensor) for value in source.values()):
        raise InputError(
            f"{name} is a {type(source).__name__} that holds no weights; give a state dict, its file, or a module"
        )
    return source


def _read(path: Path) -> Any:
    if path.is_dir():
        path = next((path / file for file in FILES if (path / file).is_file()), path / FILES[0])
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the file of a state dict (.pt, .pth, .safetensors)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, SafetensorError, EOFError, KeyError) as error:
        raise InputError(f"{path} cannot be read as weights ({_reason(error)}); save a state dict there") from None
    except Exception as error:  # unpickling of what is no tensor, whose class torch keeps to itself
        raise InputError(f"{path} holds more than weights ({_reason(error)}); save model.state_dict() alone") from None


def _unwrapped(state: Mapping[str, Tensor], known: set[str]) -> dict[str, Tensor]:
    """Without what DistributedDataParallel and torch.compile put before every name, until names are those `known`."""
    while state and not known & set(state):
        prefix = next((one for one in WRAPPERS if all(key.startswith(one) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def _load_tied(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    model.load_state_dict(state, strict=False)
    tie = getattr(model, "tie_weights", None)
    if tie is not None:
        tie()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
