"""A convolution and the batch norm after it as one convolution: two passes over the activations fewer, each way.

In eval mode batch norm is y = s x + o by channel, s = weight / sqrt(var + eps), o = bias - s mean. With x = W * p that
is y = (s W) * p + o. From g, the gradient of y, all three gradients follow as before:

    d W      = sum s g p^T                          (s goes into the side that projects g)
    d bias   = sum g
    d weight = sum g (y - bias) / weight

Whether a pair may be folded (nothing else looks at what is between them) is not decided here: the engine compares a
folded pass with plain autograd and gives folding up where they differ. An in-place ReLU on y changes no sum: g is zero
wherever it changed y.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import Block, Rows
from thresher.attribution.gradients.layers import Backward, Call, batch_norm, convolution

CONVOLUTIONS, NORMS = (nn.Conv1d, nn.Conv2d), (nn.BatchNorm1d, nn.BatchNorm2d)
# (y - bias) / weight cancels where the weight is small beside the bias: such a norm is left alone.
SMALLEST_WEIGHT = 1e-2


@dataclass
class Pair:
    """A convolution without a bias whose output goes into a batch norm."""

    convolution: nn.Conv1d | nn.Conv2d
    norm: nn.BatchNorm1d | nn.BatchNorm2d
    weight: Tensor
    """Of the convolution that does both."""
    bias: Tensor
    factor: Tensor
    """s, by channel."""
    rate: Tensor
    """1 / weight of the norm."""
    made_from: tuple[int, ...]
    sides: dict[str, Tensor] = field(default_factory=dict)
    """What projects gradients of y, where the block of the weight projects its first axis."""

    def refresh(self) -> bool:
        """Fold again if the model was changed since; whether it can be."""
        if self.made_from != _versions(self.convolution, self.norm):
            if not _can_fold(self.convolution, self.norm):
                return False
            self.weight, self.bias, self.factor, self.rate = _fold(self.convolution, self.norm)
            self.made_from = _versions(self.convolution, self.norm)
            self.sides.clear()
        return True

    def apply(self) -> None:
        """From now on the convolution does the work of both and the norm passes on what it gets."""
        self.convolution.forward = lambda input: self.convolution._conv_forward(input, self.weight, self.bias)
        self.norm.forward = lambda input: input

    def lift(self) -> None:
        """Take back what `apply` did."""
        # Instance attributes that hide the methods of the class.
        self.convolution.__dict__.pop("forward", None)
        self.norm.__dict__.pop("forward", None)

    def convolution_rule(self, call: Call) -> Backward:
        """The rule of a convolution, with s in the side that projects the gradient of y."""
        return convolution(call._replace(rows=_Scaled(call.rows, self)))

    def norm_rule(self, call: Call) -> Backward:
        """Batch norm's own, with y standing in for its input: (y - bias) / weight is the normalised input."""
        return batch_norm(call, shift=self.norm.bias, rate=self.rate)


class _Scaled(Rows):
    """Rows to which weight gradients go times a factor for each of their output channels."""

    def __init__(self, rows: Rows, pair: Pair) -> None:
        self.num_examples, self.values = rows.num_examples, rows.values
        self._rows, self._sides, self._factor = rows, pair.sides, pair.factor[:, None]

    def side(self, block: Block) -> Tensor | None:
        if block.rows is not None and block.name not in self._sides:
            self._sides[block.name] = self._factor * block.rows
        return self._sides.get(block.name)

    def add_outer(self, block: Block, left: Tensor, right: Tensor) -> None:
        if block.rows is not None:  # is in the side already
            self._rows.add_outer(block, left, right)
        elif block.cols is None:
            self._rows.add_outer(block, self._factor * left, right)
        else:  # the product is smaller than its factors
            product = self._factor * torch.bmm(left.to(self.values.dtype), right.to(self.values.dtype))
            self._rows.add_whole(Block(block.name, product.shape[1:], block.start), product)

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        self._rows.add_whole(block, gradients.reshape(self.num_examples, len(self._factor), -1) * self._factor)


def find_pairs(model: nn.Module, run: Callable[[], object]) -> list[Pair]:
    """Pairs that each ran once in `run()`, a forward pass of the model, one straight after the other."""
    given: dict[int, tuple[nn.Module, Tensor]] = {}
    calls: Counter[nn.Module] = Counter()
    consecutive: list[tuple[nn.Module, nn.Module]] = []

    def watch(module: nn.Module, args: tuple, output: object) -> None:
        calls[module] += 1
        if type(module) in CONVOLUTIONS and isinstance(output, Tensor):
            given[id(output)] = module, output  # the tensor is held, so that no other gets its id
        elif args and id(args[0]) in given:
            consecutive.append((given[id(args[0])][0], module))

    layers = [module for module in model.modules() if type(module) in (*CONVOLUTIONS, *NORMS)]
    hooks = [module.register_forward_hook(watch) for module in layers]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return [_pair(*pair) for pair in consecutive if calls[pair[0]] == calls[pair[1]] == 1 and _can_fold(*pair)]


@contextmanager
def folded(pairs: Sequence[Pair]) -> Iterator[None]:
    """Inside, all of them are applied."""
    try:
        for pair in pairs:
            pair.apply()
        yield
    finally:
        for pair in pairs:
            pair.lift()


def _can_fold(convolution: Any, norm: Any) -> bool:
    if type(norm) not in NORMS or norm.training or not norm.affine or norm.running_mean is None:
        return False
    if convolution.bias is not None or "forward" in convolution.__dict__ or "forward" in norm.__dict__:
        return False
    return bool((norm.weight.abs() > SMALLEST_WEIGHT * norm.bias.abs().clamp(min=SMALLEST_WEIGHT)).all())


def _pair(convolution: Any, norm: Any) -> Pair:
    weight, bias, factor, rate = _fold(convolution, norm)
    return Pair(convolution, norm, weight, bias, factor, rate, _versions(convolution, norm))


@torch.no_grad()
def _fold(convolution: Any, norm: Any) -> tuple[Tensor, ...]:
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = convolution.weight * factor.view(-1, *[1] * (convolution.weight.ndim - 1))
    if weight.ndim == 4 and weight.device.type == "cpu":  # else each pass lays them out so, twice
        weight = weight.contiguous(memory_format=torch.channels_last)
    return weight, norm.bias - factor * norm.running_mean, factor, 1 / norm.weight


def _versions(convolution: Any, norm: Any) -> tuple[int, ...]:
    tensors = (convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return tuple(part for tensor in tensors for part in (tensor.data_ptr(), tensor._version))
