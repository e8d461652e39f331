"""Per-example gradients of a loss of the user's, or of a model with several inputs: plain autograd, no layer rules."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from thresher.api.measuring import Task
from thresher.attribution.gradients.projection import make_projector
from thresher.devices import full_float32
from thresher.errors import InputError

CHUNK, HELD = 16, 2**28
"""Examples differentiated at once, and numbers of their gradients."""
PROJECTIONS = ("identity", "sjlt", "mask+sjlt", "normal", "rademacher")


class PlainFeatures(NamedTuple):
    """What was read of a batch."""

    features: Tensor
    """[b, k]."""
    doubt: Tensor
    """1 - p, [b]; ones with a loss of the user's, which holds it already."""


class PlainFeaturizer:
    """Callable on the user's batches; the same contract as `Featurizer`, at the price of plain autograd."""

    def __init__(
        self, model: nn.Module, task: Task, name: str, *, projection: str, k: int, seed: int, model_id: int
    ) -> None:
        """Raises InputError for a projection that needs the layers of a model."""
        if projection not in PROJECTIONS:
            raise InputError(
                f"method {projection!r} works on layers, not with loss= or several inputs; pass exact or sjlt"
            )
        self.model, self.task, self.name = model, task, name
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        size = sum(value.numel() for value in self.parameters.values())
        self._projector = make_projector(projection, size, k, seed=seed, model_id=model_id)
        self.num_features = self._projector.num_features
        self._vectorised = task.loss is not None
        self._chunk = max(1, min(CHUNK, HELD // size))

    def __call__(self, batch: Any) -> PlainFeatures:
        """Features and doubts of a batch of the user's kind."""
        device = next(iter(self.parameters.values())).device
        batch = tree_map_only(Tensor, lambda value: value.to(device), batch)
        count = len(self.task.form.split(batch, self.name).values()[0])
        parts = [self._read(_rows(batch, slice(low, low + self._chunk), count)) for low in range(0, count, self._chunk)]
        rows, doubts = zip(*parts, strict=True)
        return PlainFeatures(torch.cat(rows), torch.cat(doubts))

    @full_float32()
    def _read(self, batch: Any) -> tuple[Tensor, Tensor]:
        if self._vectorised and all(isinstance(leaf, Tensor) for leaf in tree_leaves(batch)):
            try:
                gradients, doubt = self._at_once(batch)
                return self._projector(_flat(gradients, 1)), doubt
            except torch.OutOfMemoryError:
                raise
            except Exception:  # vmap refuses data-dependent control flow and in-place writes, in many ways
                self._vectorised = False
        return self._one_by_one(batch)

    def _at_once(self, batch: Any) -> tuple[dict[str, Tensor], Tensor]:
        def value(parameters: Mapping[str, Tensor], example: Any) -> Tensor:
            single = tree_map(lambda leaf: leaf[None], example)
            return self.task.losses(self._call(parameters, single), single)[0]

        parameters = {name: value.detach() for name, value in self.parameters.items()}
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels have no batching rule
            gradients, values = vmap(grad_and_value(value), in_dims=(None, 0))(parameters, batch)
        return gradients, torch.ones_like(values)

    def _one_by_one(self, batch: Any) -> tuple[Tensor, Tensor]:
        count = len(self.task.form.split(batch, self.name).values()[0])
        features, doubts = [], []
        for row in range(count):
            single = _rows(batch, slice(row, row + 1), count)
            with torch.enable_grad():
                output = self._call(self.parameters, single)
                if self.task.loss is not None:
                    value, doubt = self.task.losses(output, single), torch.ones(1)
                else:
                    measured = self.task.margins(output, single, self.name)
                    value, doubt = measured.margin, measured.doubt.cpu()
                gradients = torch.autograd.grad(value.sum(), list(self.parameters.values()), materialize_grads=True)
            row_gradients = dict(zip(self.parameters, (gradient[None] for gradient in gradients), strict=True))
            features.append(self._projector(_flat(row_gradients, 1)))
            doubts.append(doubt)
        return torch.cat(features), torch.cat(doubts)

    def _call(self, parameters: Mapping[str, Tensor], batch: Any) -> Any:
        inputs = self.task.form.split(batch, self.name)
        return functional_call(self.model, dict(parameters), inputs.positional, dict(inputs.named or {}))

    def close(self) -> None:
        """Nothing is left on the model."""


def _rows(batch: Any, rows: slice, count: int) -> Any:
    """Some examples of a batch: of tensors the rows; all else with an entry an example is left as it is."""
    return tree_map_only(Tensor, lambda leaf: leaf[rows] if leaf.ndim and len(leaf) == count else leaf, batch)


def _flat(gradients: Mapping[str, Tensor], start: int) -> Tensor:
    return torch.cat([gradient.flatten(start) for gradient in gradients.values()], dim=start)
