"""A user's batch taken apart: what the model is called with, and the labels."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thresher.errors import InputError

LABELS = ("labels", "label")


@dataclass(frozen=True)
class Inputs:
    """A batch taken apart: what the model is called with, and the labels."""

    positional: tuple[Tensor, ...] = ()
    named: Mapping[str, Tensor] | None = None
    labels: Tensor | None = None

    def call(self, model: nn.Module) -> Any:
        """What the model gives for these inputs."""
        return model(**self.named) if self.named is not None else model(*self.positional)

    def values(self) -> tuple[Tensor, ...]:
        """All tensors that go into the model."""
        return tuple(self.named.values()) if self.named is not None else self.positional


def split(batch: Any, accepts: frozenset[str] | None, name: str) -> Inputs:
    """Inputs and labels of a batch: a mapping, a pair (x, y), or x alone."""
    if isinstance(batch, Mapping):
        return _split_named(batch, accepts, name)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        first, labels = batch
        if isinstance(first, Mapping):
            return _split_named({**first, "labels": labels}, accepts, name)
        values = tuple(first) if isinstance(first, tuple | list) else (first,)
        return Inputs(_tensors(values, name), None, _labels(labels))
    values = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    return Inputs(_tensors(values[:1], name))


def check_labels(labels: Tensor | None, name: str) -> None:
    """Refuse batches that are neither classification nor language."""
    if labels is None:
        raise InputError(
            f"{name} has no labels; give batches (x, y) or dicts with labels, or pass loss=, a function "
            "(outputs, batch) -> the loss of each example"
        )
    if not is_integer(labels) or labels.ndim not in (1, 2):
        raise InputError(
            f"{name} has labels {list(labels.shape)} of {labels.dtype}; classes are integers [b], tokens [b, t]; for "
            "another task pass loss=, a function (outputs, batch) -> the loss of each example"
        )


def logits_in(output: Any) -> Tensor:
    """The logits of what a model gives: a tensor, `.logits`, `["logits"]` or the first of a tuple."""
    logits = output
    if isinstance(output, Mapping):
        logits = output.get("logits")
    elif isinstance(output, tuple | list):
        logits = output[0] if output else None
    elif not isinstance(output, Tensor):
        logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise InputError(
            f"the model gives a {type(output).__name__} without logits; return the logits, or pass loss=, a function "
            "(outputs, batch) -> the loss of each example"
        )
    return logits


def _split_named(batch: Mapping[str, Any], accepts: frozenset[str] | None, name: str) -> Inputs:
    label = next((key for key in LABELS if key in batch), None)
    labels = batch[label] if label is not None else None
    tensors = {key: value for key, value in batch.items() if isinstance(value, Tensor) and key not in LABELS}
    named = {key: value for key, value in tensors.items() if accepts is None or key in accepts}
    if not named:
        if len(tensors) == 1:  # a module of one tensor, whatever it calls it
            return Inputs(tuple(tensors.values()), None, _labels(labels))
        raise InputError(
            f"{name} has the columns {', '.join(map(str, batch))}, the model takes "
            f"{', '.join(sorted(accepts or ())) or 'any'}; rename the columns, or give a collate_fn that does"
        )
    return Inputs((), named, _labels(labels))


def _tensors(values: Sequence[Any], name: str) -> tuple[Tensor, ...]:
    for value in values:
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name} gives batches of {type(value).__name__}, where tensors are needed; add a transform such as "
                "ToTensor(), or give a DataLoader with a collate_fn"
            )
    return tuple(values)


def keywords_of(model: nn.Module) -> frozenset[str] | None:
    """The keywords that the model's forward takes; None where it takes any."""
    parameters = inspect.signature(model.forward).parameters.values()
    base = getattr(model, "get_base_model", None)
    if base is not None:  # adapters of peft pass everything on
        return keywords_of(base())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters) and not hasattr(model, "config"):
        return None
    return frozenset(
        parameter.name
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    )


def _labels(values: Any) -> Tensor | None:
    """Labels of any type of integer as int64, which holds -100 and is what classes are looked up by."""
    if not isinstance(values, Tensor):
        return None
    return values.long() if is_integer(values) else values


def is_integer(values: Tensor) -> bool:
    """Whether these are whole numbers of any width; booleans are none."""
    return not values.dtype.is_floating_point and not values.dtype.is_complex and values.dtype != torch.bool
