"""Per-example gradients of each kind of layer, from what entered it and the gradient of what it gave.

A rule is called in the layer's forward with its input and returns what to call with the gradient of its output. It
projects the input at once (see `blocks`), so that is all a pass keeps; two-sided, no weight gradient is ever formed.
Positions (tokens, pixels) are summed over; b is the number of examples, t of positions.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from thresher.attribution.gradients.blocks import Block, Rows

Backward = Callable[[Tensor], None]
Sizes = tuple[int, ...]
# Numbers of a temporary that stays in second-level caches: 1 MB of float32.
CACHED = 2**18


class Unsupported(Exception):
    """This use of a layer is not one its rule knows; its parameters go to the fallback."""


class Call(NamedTuple):
    """One call of a layer in a forward pass."""

    module: Any
    """An nn.Module of the kind the rule is for."""
    input: Tensor
    output: Tensor
    blocks: Mapping[str, Block]
    """Of the module's own parameters that are captured here, by their name in the module."""
    rows: Rows
    kept: dict[str, Tensor]
    """What a rule made for this module that no pass changes."""

    def split(self, values: Tensor) -> Float[Tensor, "b t d"]:
        """[b * u, .., d] as [b, positions, d]: windows of one example stand together."""
        if values.ndim < 2 or len(values) % self.rows.num_examples:
            raise Unsupported
        return values.reshape(self.rows.num_examples, -1, values.shape[-1])

    def add_sum(self, name: str, gradients: Tensor, positions: int | tuple[int, ...]) -> None:
        """Add to this parameter, if it is captured, its gradient at each position."""
        if name in self.blocks:
            self.rows.add_whole(self.blocks[name], gradients.sum(dim=positions, dtype=self.rows.values.dtype))


Rule = Callable[[Call], Backward]


def linear(call: Call) -> Backward:
    """The rule of nn.Linear (weight [out, in]) and Conv1D of `transformers` (weight [in, out])."""
    weight, transposed = call.blocks.get("weight"), isinstance(call.module, Conv1D)
    entered = torch.empty(0)
    if weight is not None:
        entered = _sided(call.split(call.input), weight.rows if transposed else weight.cols)

    def backward(gradient: Tensor) -> None:
        gradient = call.split(gradient)
        call.add_sum("bias", gradient, 1)
        if weight is None:
            return
        came_back = _sided(gradient, weight.cols if transposed else weight.rows)
        left, right = (entered, came_back) if transposed else (came_back, entered)
        call.rows.add_outer(weight, left.mT, right)

    return backward


def convolution(call: Call) -> Backward:
    """The rule of nn.Conv1d and nn.Conv2d: any stride, padding, dilation and groups."""
    weight, num_groups = call.blocks.get("weight"), call.module.groups
    if len(call.input) != call.rows.num_examples:
        raise Unsupported
    entered = torch.empty(0)
    if weight is not None:
        kernels = None if weight.cols is None or num_groups > 1 else _kernels(call, weight.cols)
        entered = _patches(call.module, call.input, kernels)

    def backward(gradient: Tensor) -> None:
        gradient = _positions_first(gradient)
        call.add_sum("bias", gradient, 1)
        if weight is None:
            return
        if num_groups > 1:  # each group of outputs saw its own inputs: entire, then projected
            by_group = entered.to(gradient.dtype).unflatten(2, (num_groups, -1)).transpose(1, 2)
            came_back = gradient.unflatten(2, (num_groups, -1)).permute(0, 2, 3, 1)
            call.rows.add_whole(weight, (came_back @ by_group).flatten(1, 2))
        else:
            call.rows.add_outer(weight, _sided(gradient, call.rows.side(weight)).mT, entered)

    return backward


def _positions_first(images: Float[Tensor, "b c *positions"]) -> Float[Tensor, "b t c"]:
    """Without a copy where the channels are last in memory; products with positions first are the faster ones."""
    if images.ndim == 2:
        return images.unsqueeze(1)
    return images.movedim(1, -1).flatten(1, -2)


def _kernels(call: Call, side: Float[Tensor, "i r"]) -> Tensor:
    """The side as the kernels of a convolution to r channels."""
    key = f"kernels {call.input.dtype}"
    if key not in call.kept:
        # Contiguous: with the strides of a transpose the convolution took twice as long.
        kernels = side.T.to(call.input.dtype).contiguous()
        call.kept[key] = kernels.view(-1, call.module.in_channels, *call.module.kernel_size)
    return call.kept[key]


def _patches(module: Any, images: Tensor, kernels: Tensor | None) -> Float[Tensor, "b t r"]:
    """What each output position of a convolution sees, [b, t, in * kernel], projected to [b, t, r].

    Projected, that is a convolution with the side as its kernels: the patches themselves are never laid out.
    """
    kernel, stride, padding, dilation = module.kernel_size, module.stride, module.padding, module.dilation
    if isinstance(padding, str) or module.padding_mode != "zeros":
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        images = F.pad(images, module._reversed_padding_repeated_twice, mode=mode)
        padding = (0,) * len(kernel)
    if kernels is not None:
        convolve = F.conv1d if len(kernel) == 1 else F.conv2d
        return _positions_first(convolve(images, kernels, stride=stride, padding=padding, dilation=dilation))
    if len(kernel) == 1:
        images, kernel, stride = images.unsqueeze(2), (1, *kernel), (1, *stride)
        padding, dilation = (0, *padding), (1, *dilation)
    return _unfolded(images, kernel, stride, padding, dilation)


def _unfolded(images: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Float[Tensor, "b t r"]:
    """The patches of images [b, c, h, w] one after the other: torch's unfold, positions first.

    Copied from one view: unfold and a transpose took 7 to 12 times as long for images of 16 x 16 and more.
    """
    images = F.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    sides = zip(images.shape[2:], kernel, stride, dilation, strict=True)
    places = [(side - spread * (size - 1) - 1) // step + 1 for side, size, step, spread in sides]
    image, channel, *along = images.stride()
    steps = [length * step for length, step in zip(along, stride, strict=True)]
    spreads = [length * spread for length, spread in zip(along, dilation, strict=True)]
    shape, strides = (len(images), *places, images.shape[1], *kernel), (image, *steps, channel, *spreads)
    return images.as_strided(shape, strides, images.storage_offset()).flatten(3).flatten(1, 2)


def embedding(call: Call) -> Backward:
    """The rule of nn.Embedding: a linear layer of one-hot inputs, so that one tied to the head adds up with it."""
    module, weight, rows = call.module, call.blocks["weight"], call.rows
    if module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
        raise Unsupported
    if call.output.shape[0] != rows.num_examples:
        raise Unsupported
    indices = call.input.expand(call.output.shape[:-1]).reshape(rows.num_examples, -1)

    def backward(gradient: Tensor) -> None:
        came_back = _sided(call.split(gradient), weight.cols)
        if module.padding_idx is not None:
            came_back = came_back * torch.ne(indices, module.padding_idx)[..., None]
        if weight.rows is None:
            rows.add_at(weight, indices, came_back)
        else:
            rows.add_outer(weight, weight.rows[indices].mT, came_back)

    return backward


def layer_norm(call: Call) -> Backward:
    """The rule of nn.LayerNorm."""
    shape = call.module.normalized_shape

    def backward(gradient: Tensor) -> None:
        _add_affine(call, gradient, lambda: F.layer_norm(call.input, shape, eps=call.module.eps), -len(shape))

    return backward


def group_norm(call: Call) -> Backward:
    """The rule of nn.GroupNorm."""

    def backward(gradient: Tensor) -> None:
        normalized = lambda: F.group_norm(call.input, call.module.num_groups, eps=call.module.eps)  # noqa: E731
        _add_affine(call, gradient.movedim(1, -1), lambda: normalized().movedim(1, -1))

    return backward


def batch_norm(call: Call, *, shift: Tensor | None = None, rate: Tensor | None = None) -> Backward:
    """The rule of batch norm in eval mode, where the statistics are constants.

    The gradient of the weight is sum g * (x - mean) / sqrt(var + eps), per channel.
    `shift` and `rate` (see `folding`) stand in for mean and 1 / sqrt(var + eps).
    """
    module, x = call.module, call.input
    if module.running_mean is None or len(x) != call.rows.num_examples:
        raise Unsupported
    at = module.running_mean if shift is None else shift
    times = torch.rsqrt(module.running_var + module.eps) if rate is None else rate

    def backward(gradient: Tensor) -> None:
        total, product = _sums(_positions_first(gradient), _positions_first(x))
        if "bias" in call.blocks:
            call.rows.add_whole(call.blocks["bias"], total)
        if "weight" in call.blocks:
            call.rows.add_whole(call.blocks["weight"], (product - at * total) * times)

    return backward


def scale(call: Call) -> Backward:
    """The rule of any *RMSNorm: a layer of one vector that scales the last axis.

    It gives y = h(x) * weight or h(x) * (1 + weight), where h is the layer itself at weight one less the layer at
    weight zero; the first batch verifies that this is right.
    """
    module = call.module
    if call.output.shape[-1:] != module.weight.shape:
        raise Unsupported

    def at(value: float) -> Tensor:
        return functional_call(module, {"weight": torch.full_like(module.weight, value)}, (call.input,))

    def backward(gradient: Tensor) -> None:
        _add_affine(call, gradient, lambda: at(1.0) - at(0.0))

    return backward


def rule_of(module: nn.Module) -> tuple[str, Rule] | None:
    """The name and the rule for a layer of this kind; None where there is none."""
    for name, (classes, rule) in RULES.items():
        if isinstance(module, classes):
            return name, rule
    parameters = dict(module.named_parameters(recurse=False))
    if type(module).__name__.endswith("RMSNorm") and list(parameters) == ["weight"] and parameters["weight"].ndim == 1:
        return "rms norm", scale
    return None


RULES: dict[str, tuple[Any, Rule]] = {
    "linear": ((nn.Linear, Conv1D), linear),
    "conv1d": (nn.Conv1d, convolution),
    "conv2d": (nn.Conv2d, convolution),
    "embedding": (nn.Embedding, embedding),
    "layer norm": (nn.LayerNorm, layer_norm),
    "group norm": (nn.GroupNorm, group_norm),
    "batch norm": ((nn.BatchNorm1d, nn.BatchNorm2d), batch_norm),
}


def _sided(values: Float[Tensor, "*any m"], side: Float[Tensor, "m r"] | None) -> Tensor:
    return values if side is None else values @ side.to(values.dtype)


def _add_affine(call: Call, gradient: Tensor, normalized: Callable[[], Tensor], first_axis: int = -1) -> None:
    """Add the gradients of y = weight * normalized + bias, elementwise over the axes from `first_axis` on."""
    gradient = call.split(gradient.flatten(first_axis))
    if "weight" in call.blocks:
        call.add_sum("weight", gradient * call.split(normalized().flatten(first_axis)), 1)
    call.add_sum("bias", gradient, 1)


def _sums(gradient: Float[Tensor, "b t c"], x: Float[Tensor, "b t c"]) -> tuple[Tensor, Tensor]:
    """Over the positions, of g and of g x, [b, c]: some examples at a time, which stay in the processor's cache."""
    step = max(1, CACHED // gradient[0].numel())
    if step >= len(gradient) or gradient.device.type != "cpu":
        return gradient.sum(dim=1), torch.linalg.vecdot(gradient, x, dim=1)
    parts = zip(gradient.split(step), x.split(step), strict=True)
    return gradient.sum(dim=1), torch.cat([torch.linalg.vecdot(some, others, dim=1) for some, others in parts])
