"""Floating-point operations of a forward pass, in closed form from the shapes of its matrix products.

What is counted is what a model asks for, not what a kernel does: attention is its two products over all pairs of
positions (masked ones too), whichever kernel computes it and under whichever name; a convolution its weights at every
place of its output; a recurrent layer its matrices at every step. So a count depends on the model and the input's
shape alone, never on the processor, the precision, the version of torch or the attention implementation.

A multiply-add is 2. Elementwise work, norms and look-ups are not counted, nor are outer products of activations (the
angles of rotary embeddings), which some versions of a library write as a product and some as a multiplication.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class FlopCount:
    """How many FLOPs were asked for inside `counting_flops`."""

    def __init__(self) -> None:
        self.total = 0
        # Of a function counted as a whole, the products that it is made of here are not counted again.
        self.is_inside = False


@contextmanager
def counting_flops() -> Iterator[FlopCount]:
    """Count the FLOPs of forward passes inside; gradients are off."""
    count, fastpath = FlopCount(), torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        # nn.MultiheadAttention has one opaque operation for evaluation; without it, it is linear layers and attention.
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fastpath)
        # In inference mode a composite operation arrives whole, under its own name.
        for context in (torch.inference_mode(False), torch.no_grad(), _Operations(count), _Functions(count)):
            stack.enter_context(context)
        yield count


class _Functions(TorchFunctionMode):
    """Counts functions that torch computes in different ways on different machines, by the shapes of their inputs."""

    def __init__(self, count: FlopCount):
        super().__init__()
        self.count = count

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        rule = FUNCTIONS.get(func)
        if rule is None or self.count.is_inside:
            return func(*args, **kwargs)
        self.count.total += rule(*args, **kwargs)
        self.count.is_inside = True
        try:
            return func(*args, **kwargs)
        finally:
            self.count.is_inside = False


class _Operations(TorchDispatchMode):
    """Counts plain matrix products and convolutions, whatever function they come from (einsum, @, Conv1D)."""

    def __init__(self, count: FlopCount):
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        rule = OPERATIONS.get(func.overloadpacket.__name__)
        if rule is not None and not self.count.is_inside:
            self.count.total += rule(*args, out=out, **(kwargs or {}))
        return out


def _matrix_flops(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """[m, k] @ [k, n], also of vectors and of [m, k] @ [groups, k, n] where each row belongs to one group."""
    return 2 * left.numel() * (right.shape[-1] if right.ndim > 1 else 1)


def _batched_flops(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """[b, m, k] @ [b, k, n]; nothing where k is 1: an outer product sums nothing."""
    return _contraction(left.numel() // max(1, left.shape[2]), left.shape[2], right.shape[2])


def _contraction(rows: int, summands: int, columns: int) -> int:
    return 2 * rows * summands * columns if summands > 1 else 0


def _added(rule: Callable[..., int]) -> Callable[..., int]:
    """The same for an operation that adds its product to its first argument."""
    return lambda added, left, right, **options: rule(left, right, **options)


def _convolution_flops(input: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any) -> int:
    """Every weight once for each place of the output; of the input, where the convolution is transposed."""
    is_transposed = kwargs.get("transposed", args[4] if len(args) > 4 else False)
    places = input.numel() // input.shape[1] if is_transposed else out.numel() // out.shape[1]
    return 2 * places * weight.numel()


def _linear_flops(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * (input.numel() // max(1, weight.shape[-1])) * weight.numel()


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Scores of all pairs of positions and the sums they weight: [..., t, d], [..., s, d], [..., s, e].

    Where several heads of queries share keys and values, every head of queries counts.
    """
    rows = prod(torch.broadcast_shapes(query.shape[:-3], key.shape[:-3])) * prod(query.shape[-3:-1])
    positions = key.shape[-2]
    return _contraction(rows, query.shape[-1], positions) + _contraction(rows, positions, value.shape[-1])


def _multihead_flops(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    in_weight: Tensor | None,
    in_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    *_: Any,
    **__: Any,
) -> int:
    """Of `nn.MultiheadAttention`: four projections, and attention; inputs are [t, b, width] or [t, width]."""
    tokens = query.numel() // width
    positions = key.shape[0] + (bias_k is not None) + add_zero_attn
    rows, size = tokens * heads, width // heads
    projections = 2 * width * (query.numel() + key.numel() + value.numel() + tokens * width)
    return projections + _contraction(rows, size, positions) + _contraction(rows, positions, size)


def _recurrent_flops(input: Tensor, *args: Any, **_: Any) -> int:
    """Every matrix of every layer and direction at every step.

    Arguments are (input [t, b, d], state, weights, ...) or, of packed sequences, (input [all steps, d], sizes, state,
    weights, ...).
    """
    is_packed = isinstance(args[0], Tensor) and not args[0].is_floating_point()
    weights = args[2] if is_packed else args[1]
    steps = input.shape[0] if is_packed else input.shape[0] * input.shape[1]
    return 2 * steps * sum(weight.numel() for weight in weights if weight.ndim == 2)


FUNCTIONS: dict[Any, Callable[..., int]] = {
    F.linear: _linear_flops,
    F.scaled_dot_product_attention: _attention_flops,
    F.multi_head_attention_forward: _multihead_flops,
    torch.lstm: _recurrent_flops,
    torch.gru: _recurrent_flops,
    torch.rnn_tanh: _recurrent_flops,
    torch.rnn_relu: _recurrent_flops,
}
OPERATIONS: dict[str, Callable[..., int]] = {
    "mm": _matrix_flops,
    "mv": _matrix_flops,
    "dot": _matrix_flops,
    "addmm": _added(_matrix_flops),
    "addmv": _added(_matrix_flops),
    "_addmm_activation": _added(_matrix_flops),
    "bmm": _batched_flops,
    "baddbmm": _added(_batched_flops),
    "addbmm": _added(_batched_flops),
    "convolution": _convolution_flops,
    # Experts: rows sorted by the expert that reads them, in torch and in `transformers`.
    "_grouped_mm": _matrix_flops,
    "grouped_mm_fallback": _matrix_flops,
}
