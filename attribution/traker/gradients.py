"""traker's gradient computers, by hooks: one forward and one backward pass of the model for a batch.

A task written for one example (traker's FunctionalGradientComputer) goes through `standin`; one written for a batch
(IterativeGradientComputer) is called on the batch. The first batch is checked against `exact`: a parameter whose
gradient comes out otherwise, or all of them where the task does not fit, is left to it from then on.
"""

import logging
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from trak.gradient_computers import (
    AbstractGradientComputer,
    FunctionalGradientComputer,
    IterativeGradientComputer,
)

from thresher.attribution.gradients.blocks import Rows, whole_blocks
from thresher.attribution.gradients.capture import Capture
from thresher.attribution.gradients.verification import unlike, wrong_parameters
from thresher.attribution.traker.exact import Exact, ExactIterative, Randomness
from thresher.attribution.traker.rows import PerExample, rows_of
from thresher.attribution.traker.standin import Output, StandIn, Tree, Unsuitable, first_call, output_gradients
from thresher.errors import InputError

logger = logging.getLogger("GradientComputer")


class HookedGradients(AbstractGradientComputer):
    """For tasks written for one example: `get_output(model, weights, buffers, *example)`."""

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        grad_dim: int | None = None,
        dtype: torch.dtype = torch.float16,
        device: torch.device | str = "cuda",
        grad_wrt: Iterable[str] | None = None,
    ) -> None:
        super().__init__(model, task, grad_dim, dtype, device)  # pyright: ignore[reportArgumentType]
        self.modelout_fn: Any = task
        chosen = None if grad_wrt is None else set(grad_wrt)
        parameters = {n: p for n, p in model.named_parameters() if chosen is None or n in chosen}
        first = next(iter(parameters.values()))
        self._device, self._row_dtype = first.device, torch.promote_types(first.dtype, torch.float32)
        self._blocks = whole_blocks(parameters)
        self._size = sum(block.size for block in self._blocks.values())
        self._capture = Capture(model, self._blocks)
        weakref.finalize(self, self._capture.close)
        self._exact = self._make_exact()
        self._left: list[str] = []
        self._per_example: list[bool] = []
        self._verified, self._reuses = False, True
        self._pass: tuple[Tree, Tree] | None = None
        self.load_model_params(model)

    @property
    def coverage(self) -> dict[str, str]:
        """Parameter name -> the kind of layer that captures its gradient, or `exact`. Final after the first batch."""
        return {
            name: "exact" if name in self._left else self._capture.kinds.get(name, "exact") for name in self._blocks
        }

    def load_model_params(self, model: nn.Module) -> None:
        """Read the weights and buffers that the next batches are computed with."""
        self.func_weights, self.func_buffers = dict(model.named_parameters()), dict(model.named_buffers())
        self._pass = None

    def compute_per_sample_grad(self, batch: Iterable[Tensor]) -> PerExample | Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradients of the outputs of a batch; what the task draws at random is drawn as traker would."""
        examples = self._moved(batch)
        if not self._verified:
            self._verify(examples)
        rows = self._rows(examples)
        gradients = PerExample()
        for name, block in self._blocks.items():
            gradients[name] = rows.values[:, block.start : block.start + block.size].view(
                len(rows.values), *block.shape
            )
        gradients.rows = rows.values
        return gradients

    def compute_loss_grad(self, batch: Iterable[Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The task's out-to-loss gradients: on what the model returned for this batch, where it is asked the same."""
        examples = self._moved(batch)
        if self._pass is not None and self._reuses:
            entered, returned = self._pass
            self._pass = None

            def answer(*args: Any, **kwargs: Any) -> Any:
                return returned.value() if entered.same_as(Tree.of((args, kwargs))) else self.model(*args, **kwargs)

            return self._loss_gradients(StandIn(self.model, answer, closed=False), examples)
        return self._loss_gradients(self.model, examples)

    def _make_exact(self) -> Exact:
        return Exact(self.model, self.modelout_fn)

    def _loss_gradients(self, model: nn.Module, examples: Sequence[Tensor]) -> Tensor:
        return self.modelout_fn.get_out_to_loss_grad(model, self.func_weights, self.func_buffers, examples)

    def _moved(self, batch: Iterable[Tensor]) -> list[Tensor]:
        examples = [torch.as_tensor(values).to(self._device) for values in batch]
        if len({len(values) for values in examples}) != 1:
            sizes = [len(values) for values in examples]
            raise InputError(f"the tensors of a batch hold {sizes} examples; each must hold the same ones")
        return examples

    def _rows(self, examples: Sequence[Tensor]) -> Rows:
        start = Randomness()
        rows = Rows(len(examples[0]), self._size, dtype=self._row_dtype, device=self._device)
        if len(self._left) < len(self._blocks):
            try:
                self._hooked(examples, rows, start)
            except Unsuitable:  # a call that the first batch did not have
                self._leave(set(self._blocks))
            self._leave(self._capture.failed)  # likewise
        if self._left:
            start.replay()
            for name, gradient in self._exact(examples, self._left).items():
                block = self._blocks[name]
                rows.values[:, block.start : block.start + block.size] = gradient.reshape(len(gradient), -1)
        return rows

    def _hooked(self, examples: Sequence[Tensor], rows: Rows, start: Randomness) -> None:
        """Add the gradients that the hooks see to `rows`."""
        output = Output(self.modelout_fn.get_output, self.model, self.func_weights, self.func_buffers)
        entered = first_call(output, examples)
        with torch.enable_grad(), self._capture.recording(rows):
            args, kwargs = entered.value()
            returned = Tree.of(self.model(*args, **kwargs))
            if not self._verified:  # the number of examples is no other size now
                self._per_example = [
                    isinstance(v, Tensor) and v.shape[:1] == (len(rows.values),) for v in returned.leaves
                ]
            start.replay()
            pairs = output_gradients(output, examples, returned, self._per_example)
            if pairs:
                torch.autograd.backward([leaf for leaf, _ in pairs], [gradient for _, gradient in pairs])
        self._remember(entered, returned)

    def _remember(self, entered: Tree, returned: Tree) -> None:
        leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in returned.leaves]
        self._pass = entered, Tree(leaves, returned.spec)

    def _verify(self, examples: Sequence[Tensor]) -> None:
        """Compare gradients and out-to-loss gradients of some examples with those found the sure way."""
        start, some = Randomness(), _few(examples)
        names = list(self._blocks)
        exact = self._exact(some, names)
        flat = [exact[name].reshape(len(some[0]), -1) for name in names]
        whole = torch.cat(flat, dim=1).float().norm(dim=1)
        left, reason = self._compare(some, exact, whole, start)
        self._leave(left)
        start.replay()
        self._reuses = self._pass is not None and self._reuse_agrees(some, start)
        start.replay()
        self._pass = None
        self._verified = int((whole > 0).sum()) > 1
        if self._left:
            logger.info(f"{len(self._left)} of {len(names)} parameters are differentiated example by example{reason}")

    def _compare(
        self, some: Sequence[Tensor], exact: dict[str, Tensor], whole: Tensor, start: Randomness
    ) -> tuple[set[str], str]:
        """The parameters to be left to `exact`, and why if it is all of them."""
        start.replay()
        rows = Rows(len(some[0]), self._size, dtype=self._row_dtype, device=self._device)
        try:
            self._hooked(some, rows, start)
        except Exception as error:  # whatever a task does that a stand-in cannot
            self._pass = None
            return set(self._blocks), f": {error}"
        half = torch.is_autocast_enabled(self._device.type) or next(iter(exact.values())).element_size() < 4
        return wrong_parameters(self._capture, self._blocks, rows, exact, whole, half=half), ""

    def _reuse_agrees(self, some: Sequence[Tensor], start: Randomness) -> bool:
        try:
            reused = self.compute_loss_grad(some)
        except Exception:  # a task that differentiates what the model returned
            return False
        start.replay()
        expected = self._loss_gradients(self.model, some)
        return reused.shape == expected.shape and torch.allclose(reused.float(), expected.float(), rtol=1e-3, atol=1e-5)

    def _leave(self, names: set[str]) -> None:
        self._capture.drop(names)
        left = names.union(self._left)
        self._left = [name for name in self._blocks if name in left]


class HookedBatchGradients(HookedGradients):
    """For tasks written for a batch: `get_output(model, None, None, *batch)` gives its outputs [b]."""

    def compute_per_sample_grad(self, batch: Iterable[Tensor]) -> Tensor:
        """[b, P], as traker's iterative computer has them."""
        return rows_of(super().compute_per_sample_grad(batch))

    def _make_exact(self) -> Exact:
        return ExactIterative(self.model, self.modelout_fn)

    def _loss_gradients(self, model: nn.Module, examples: Sequence[Tensor]) -> Tensor:
        return self.modelout_fn.get_out_to_loss_grad(model, None, None, examples)

    def _hooked(self, examples: Sequence[Tensor], rows: Rows, start: Randomness) -> None:
        calls: list[tuple[Tree, Tree]] = []

        def answer(*args: Any, **kwargs: Any) -> Any:
            value = self.model(*args, **kwargs)
            calls.append((Tree.of((args, kwargs)), Tree.of(value)))
            return value

        with torch.enable_grad(), self._capture.recording(rows):
            stand_in = StandIn(self.model, answer, closed=False)
            outputs = self.modelout_fn.get_output(stand_in, None, None, *examples)
            if outputs.requires_grad:
                outputs.sum().backward()
        self._pass = None
        if calls:
            self._remember(*calls[0])


def computer_of(given: type, per_example: bool = True) -> type:
    """What stands in for a gradient computer asked for: the hooks for traker's own two, any other class itself."""
    if given is IterativeGradientComputer or (given is FunctionalGradientComputer and not per_example):
        return HookedBatchGradients
    return HookedGradients if given is FunctionalGradientComputer else given


def _few(examples: Sequence[Tensor]) -> list[Tensor]:
    """Two or more examples, in a number that is no other size of the batch's tensors."""
    count = unlike({size for values in examples for size in values.shape[1:]})
    order = torch.arange(count, device=examples[0].device) % len(examples[0])
    return [values[order] for values in examples]
