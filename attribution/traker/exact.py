"""Per-example gradients the slow and sure way: what hooks are checked against, and what stands in where they fail."""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel


class Randomness:
    """The state of every generator an output function may draw from, to draw the same numbers again."""

    def __init__(self) -> None:
        self._torch, self._python, self._numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def replay(self) -> None:
        """Put every generator back to where it was."""
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


class Exact:
    """Gradients of a task's `get_output`, example by example: by vmap as in traker, in a loop where vmap refuses."""

    def __init__(self, model: nn.Module, task: Any) -> None:
        self.model, self.task = model, task
        self._vectorised = True

    def __call__(self, batch: Sequence[Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """Gradients [b, *shape] with respect to the parameters called `names`."""
        weights = {name: value.detach() for name, value in self.model.named_parameters()}
        if self._vectorised:
            start = Randomness()
            try:
                return self._at_once(batch, weights, names)
            except Exception:  # data-dependent control flow, in-place writes; an error of the model's own comes again
                self._vectorised = False
                start.replay()
        return self._one_by_one(batch, weights, names)

    def _output(self, weights: Mapping[str, Tensor], chosen: Mapping[str, Tensor], example: Sequence[Tensor]) -> Tensor:
        buffers = dict(self.model.named_buffers())
        return self.task.get_output(self.model, {**weights, **chosen}, buffers, *example).sum()

    def _at_once(self, batch: Sequence[Tensor], weights: Mapping[str, Tensor], names: Sequence[str]) -> dict:
        def output(chosen: Mapping[str, Tensor], *example: Tensor) -> Tensor:
            return self._output(weights, chosen, example)

        in_dims = (None, *(0 for _ in batch))
        # The fused attention kernels have no batching rule; the plain one is made of operations that do.
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return vmap(grad(output), in_dims, randomness="different")({n: weights[n] for n in names}, *batch)

    def _one_by_one(self, batch: Sequence[Tensor], weights: Mapping[str, Tensor], names: Sequence[str]) -> dict:
        rows = []
        for example in zip(*batch, strict=True):
            chosen = {name: weights[name].clone().requires_grad_() for name in names}
            with torch.enable_grad():
                output = self._output(weights, chosen, example)
            rows.append(_gradients(output, list(chosen.values())))
        return {name: torch.stack(gradients) for name, *gradients in zip(names, *rows, strict=True)}


class ExactIterative(Exact):
    """The same for a task written for whole batches (traker's IterativeGradientComputer): one backward pass a row."""

    def __call__(self, batch: Sequence[Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """Gradients [b, *shape] by parameter, by one backward pass for each row of the batch's outputs."""
        everything = list(self.model.parameters())
        flags = [parameter.requires_grad for parameter in everything]
        try:
            for parameter in everything:
                parameter.requires_grad_(True)
            parameters = [self.model.get_parameter(name) for name in names]
            with torch.enable_grad():
                outputs = self.task.get_output(self.model, None, None, *batch)
            rows = [_gradients(output, parameters, retain_graph=True) for output in outputs]
        finally:
            for parameter, flag in zip(everything, flags, strict=True):
                parameter.requires_grad_(flag)
        return {name: torch.stack(gradients) for name, *gradients in zip(names, *rows, strict=True)}


def _gradients(output: Tensor, values: Sequence[Tensor], retain_graph: bool = False) -> Sequence[Tensor]:
    if not output.requires_grad:
        return [torch.zeros_like(value) for value in values]
    return torch.autograd.grad(output, values, retain_graph=retain_graph, materialize_grads=True)
