"""From a user's batch to what a model is called with and what is measured: the one place that knows their forms."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thresher.api.loaders import Data
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.outputs import Batch

LABELS = ("labels", "label")
Loss = Callable[[Any, Any], Tensor]
"""(what the model gives, the batch) -> the loss of each example, [b]."""


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


@dataclass(frozen=True)
class Form:
    """How batches of this data are read for this model; all batches of both sides have one form."""

    accepts: frozenset[str] | None
    """The keywords of the model; None: any."""
    aligned: bool
    """Whether labels [b, t] are of the very positions of the logits, as cross_entropy takes them; False: as
    `transformers` has them, a copy of the inputs."""
    keys: tuple[str, ...] | None = None
    """The keywords that the model is called with; None: by position."""
    num_inputs: int = 1
    is_text: bool = False
    """Whether the model reads tokens."""

    @property
    def is_plain(self) -> bool:
        """Whether the fast engine, which calls a model with one tensor or with tokens and a mask, cannot read it."""
        return self.num_inputs > 1 and self.keys not in (("input_ids", "attention_mask"), ("input_ids",))

    def split(self, batch: Any, name: str) -> Inputs:
        """The batch taken apart."""
        return split(batch, self.accepts, name)

    def engine_batch(self, batch: Any, name: str) -> Batch:
        """The batch in the names of `thresher.outputs`, for a model wrapped by `wrap`."""
        inputs = self.split(batch, name)
        assert inputs.labels is not None
        labels = inputs.labels
        if self.aligned and labels.ndim == 2:
            labels = torch.cat([torch.full_like(labels[:, :1], -100), labels], dim=1)
        if inputs.named is not None and "input_ids" in inputs.named:
            return {**inputs.named, "labels": labels}
        return {"pixel_values": inputs.values()[0], "labels": labels}

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as the fast engine calls it."""
        return _Called(model, None if self.keys is None else self.keys[0], self.aligned)


def form_of(model: nn.Module, data: Data, *, needs_labels: bool) -> Form:
    """The form of the batches of `data`, from its first one. Raises InputError for data without labels."""
    accepts = _keywords(model)
    inputs = split(data.batch([0]), accepts, data.name)
    if needs_labels:
        check_labels(inputs.labels, data.name)
    labels, first = inputs.labels, inputs.values()[0]
    is_sequence = labels is not None and labels.ndim == 2 and first.shape == labels.shape and _is_integer(first)
    aligned = is_sequence and not _copies(data, accepts)
    keys = None if inputs.named is None else tuple(inputs.named)
    if keys is not None and set(keys) == {"input_ids", "attention_mask"}:
        keys = ("input_ids", "attention_mask")
    is_text = (keys is not None and "input_ids" in keys) or (_is_integer(first) and first.ndim == 2)
    return Form(accepts, aligned, keys, len(inputs.values()), is_text)


def split(batch: Any, accepts: frozenset[str] | None, name: str) -> Inputs:
    """Inputs and labels of a batch: a mapping, a pair (x, y), or x alone."""
    if isinstance(batch, Mapping):
        return _split_named(batch, accepts, name)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        first, labels = batch
        if isinstance(first, Mapping):
            return _split_named({**first, "labels": labels}, accepts, name)
        values = tuple(first) if isinstance(first, tuple | list) else (first,)
        return Inputs(_tensors(values, name), None, labels if isinstance(labels, Tensor) else None)
    values = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    return Inputs(_tensors(values[:1], name))


def check_labels(labels: Tensor | None, name: str) -> None:
    """Refuse batches that are neither classification nor language."""
    if labels is None:
        raise InputError(
            f"{name} has no labels; give batches (x, y) or dicts with labels, or pass loss=, a function "
            "(outputs, batch) -> the loss of each example"
        )
    if not _is_integer(labels) or labels.ndim not in (1, 2):
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


class Readable(Examples):
    """A user's data as the examples that `attribution` reads, in memory: one window each, in batches of their own."""

    def __init__(self, data: Data, form: Form) -> None:
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "form", form)

    data: Data
    form: Form

    @property
    def num_examples(self) -> int:
        """Of the user's data set."""
        return len(self.data)

    def column(self, name: str) -> list[str]:
        """Names by position, for messages."""
        return [f"{self.data.name} {row}" for row in range(len(self))]

    def batch(self, windows: np.ndarray | Sequence[int]) -> Batch:
        """By the user's own collate."""
        return self.form.engine_batch(self.data.batch(windows), self.data.name)

    def lengths(self) -> np.ndarray:
        """1 each, so that a batch is so many examples in their order."""
        return np.ones(len(self), dtype=np.int64)

    def preview(self, index: int) -> str:
        """The example as Python shows it."""
        return repr(self.data.row(index))


class _Called(nn.Module):
    """A model called with one tensor (by position, or as `key`), or with tokens and their mask; gives logits."""

    def __init__(self, model: nn.Module, key: str | None, aligned: bool) -> None:
        super().__init__()
        self.model, self.key, self.aligned = model, key, aligned
        self.extra = {"use_cache": False} if "use_cache" in (_keywords(model) or ()) else {}

    def forward(self, value: Tensor | None = None, **named: Tensor) -> Tensor:
        if named:
            output = self.model(**named, **self.extra)
        else:
            output = self.model(value) if self.key is None else self.model(**{self.key: value})
        logits = logits_in(output)
        # A last position that predicts nothing, so that labels of the very positions can stand one to the right.
        return nn.functional.pad(logits, (0, 0, 0, 1)) if self.aligned and logits.ndim == 3 else logits


def _split_named(batch: Mapping[str, Any], accepts: frozenset[str] | None, name: str) -> Inputs:
    label = next((key for key in LABELS if key in batch), None)
    labels = batch[label] if label is not None else None
    tensors = {key: value for key, value in batch.items() if isinstance(value, Tensor) and key not in LABELS}
    named = {key: value for key, value in tensors.items() if accepts is None or key in accepts}
    if not named:
        if len(tensors) == 1:  # a module of one tensor, whatever it calls it
            return Inputs(tuple(tensors.values()), None, labels if isinstance(labels, Tensor) else None)
        raise InputError(
            f"{name} has the columns {', '.join(map(str, batch))}, the model takes "
            f"{', '.join(sorted(accepts or ())) or 'any'}; rename the columns, or give a collate_fn that does"
        )
    return Inputs((), named, labels if isinstance(labels, Tensor) else None)


def _tensors(values: Sequence[Any], name: str) -> tuple[Tensor, ...]:
    for value in values:
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name} gives batches of {type(value).__name__}, where tensors are needed; add a transform such as "
                "ToTensor(), or give a DataLoader with a collate_fn"
            )
    return tuple(values)


def _keywords(model: nn.Module) -> frozenset[str] | None:
    """The keywords that the model's forward takes; None where it takes any."""
    parameters = inspect.signature(model.forward).parameters.values()
    base = getattr(model, "get_base_model", None)
    if base is not None:  # adapters of peft pass everything on
        return _keywords(base())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters) and not hasattr(model, "config"):
        return None
    return frozenset(
        parameter.name
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    )


def _copies(data: Data, accepts: frozenset[str] | None) -> bool:
    """Whether labels repeat the inputs where they say anything, as in `transformers`."""
    for row in range(min(len(data), 4)):
        inputs = split(data.batch([row]), accepts, data.name)
        assert inputs.labels is not None
        said = inputs.labels != -100
        if not bool((inputs.values()[0] == inputs.labels)[said].all()):
            return False
    return True


def _is_integer(values: Tensor) -> bool:
    return not values.dtype.is_floating_point and not values.dtype.is_complex and values.dtype != torch.bool
