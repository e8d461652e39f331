"""How well a model does on a user's data, and all that makes scores of it meaningless, refused."""

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from thresher.api.batches import check_labels, logits_in
from thresher.api.loaders import Data
from thresher.api.reading import Form, Loss
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.outputs import Outputs, logits_of, outputs_of

EQUAL = 1e-7
"""How far rounding may move outputs that are the same, relative to their size."""


@dataclass(frozen=True)
class Task:
    """What is measured of an example: margin and loss from logits and labels, or a loss of the user's."""

    form: Form
    loss: Loss | None = None

    @property
    def is_plain(self) -> bool:
        """Whether gradients come from plain autograd: of a user's loss, or of a model with several inputs."""
        return self.loss is not None or self.form.is_plain

    def losses(self, output: Any, batch: Any) -> Tensor:
        """The user's loss of each example, [b]."""
        assert self.loss is not None
        return self.loss(output, batch)

    def margins(self, output: Any, batch: Any, name: str) -> Outputs:
        """Outputs of a batch of a plain model."""
        labels = self.form.split(batch, name).labels
        assert labels is not None
        return outputs_of(*self.form.as_followed(logits_in(output), labels))


@torch.no_grad()
@full_float32()
def measure(model: nn.Module, task: Task, data: Data, device: torch.device, varies: "Variation") -> dict[str, float]:
    """Mean loss and accuracy (not with a loss of the user's) of a model in evaluation mode.

    Raises InputError for outputs that are not finite, labels that the outputs have no place for, and a loss that is not
    one number an example.
    """
    loss, correct = 0.0, 0.0
    wrapped = task.form.wrap(model)
    for indices in data.positions():
        batch = tree_map_only(Tensor, lambda value: value.to(device), data.batch(indices))
        inputs = task.form.split(batch, data.name)
        if task.loss is not None:
            output = _called(partial(inputs.call, model), data, indices)
            values = task.losses(output, batch)
            _check_losses(values, len(indices))
            varies.see(values[:, None] if not isinstance(output, Tensor) else output.flatten(1))
            _refuse_nonfinite(values, data, indices)
        else:
            check_labels(inputs.labels, data.name)
            assert inputs.labels is not None
            if task.is_plain:
                logits = logits_in(_called(partial(inputs.call, model), data, indices))
            else:
                engine = task.form.engine_batch(batch, data.name)
                logits = _called(partial(logits_of, wrapped, engine), data, indices)
                logits = logits[:, :-1] if task.form.aligned and logits.ndim == 3 else logits
            _check_logits(logits, inputs.labels, data, indices)
            _refuse_nonfinite(logits.flatten(1), data, indices)
            varies.see(logits.flatten(0, -2))
            outputs = outputs_of(*task.form.as_followed(logits, inputs.labels))
            values, correct = outputs.loss, correct + float(outputs.correct.double().sum())
        loss += float(values.double().sum())
    quality = {"loss": loss / len(data)}
    return quality if task.loss is not None else quality | {"accuracy": correct / len(data)}


def _called(call: Callable[[], Any], data: Data, indices: np.ndarray) -> Any:
    """What a model gives; what it raises becomes one line."""
    try:
        return call()
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"the model fails on {data.name} examples {indices[0]} to {indices[-1]} ({type(error).__name__}: {reason}; "
            f"{Path(where.filename).name}:{where.lineno}); call it with such a batch yourself, then give what it reads"
        ) from error


class Variation:
    """Whether outputs differ from example to example at all."""

    def __init__(self) -> None:
        self.first: Tensor | None = None
        self.count, self.differs = 0, False

    def see(self, outputs: Tensor) -> None:
        """Compare outputs [m, ...] with the first one that was seen."""
        self.first = outputs[0].float().clone() if self.first is None else self.first
        self.count += len(outputs)
        if not self.differs:
            same_shape = outputs.shape[1:] == self.first.shape
            scale = EQUAL * (1 + self.first.abs())
            self.differs = not same_shape or bool(((outputs.float() - self.first).abs() > scale).any())

    def check(self, name: str) -> None:
        """Refuse outputs that are the same for everything."""
        if self.count > 1 and not self.differs:
            raise InputError(
                f"{name} gives the same output for all {self.count} inputs of train and test, so nothing can be "
                "attributed to it; train it, or check that its weights were loaded"
            )


def _check_logits(logits: Tensor, labels: Tensor, data: Data, indices: Any) -> None:
    if logits.ndim < 2 or logits.shape[:-1] != labels.shape or logits.shape[-1] < 2:
        raise InputError(
            f"the model gives {list(logits.shape)} for labels {list(labels.shape)} of {data.name}; logits are "
            "[b, classes] for labels [b] and [b, t, vocabulary] for labels [b, t]; for another task pass loss="
        )
    num_classes = logits.shape[-1]
    bad = (labels >= num_classes) | ((labels < 0) & ((labels != -100) if labels.ndim == 2 else True))
    if bool(bad.any()):
        row = int(bad.flatten(1).any(dim=1).nonzero()[0]) if labels.ndim == 2 else int(bad.nonzero()[0])
        value = int(labels[bad][0])
        raise InputError(
            f"{data.name} example {int(indices[row])} has label {value}, but the model has {num_classes} outputs, "
            f"0 to {num_classes - 1}; give a model of these classes, or map the labels to its own"
        )


def _check_losses(values: Any, count: int) -> None:
    if not isinstance(values, Tensor) or values.shape != (count,):
        shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"loss= gave {shape} for a batch of {count}, where [{count}] is needed: the loss of each example; "
            "use reduction='none' and average what belongs to one example"
        )


def _refuse_nonfinite(values: Tensor, data: Data, indices: Any) -> None:
    bad = ~values.isfinite().reshape(len(indices), -1).all(dim=1) if math.prod(values.shape) else values.new_zeros(0)
    if bool(bad.any()):
        raise InputError(
            f"the model's output for {data.name} example {int(indices[int(bad.nonzero()[0])])} is not finite (NaN or "
            "infinite); check that the model did not diverge and that the example holds numbers"
        )
