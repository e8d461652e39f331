"""What is kept of one parameter's gradient: all, or its two-sided projection (LoGra, arXiv 2405.13954; TrackStar).

A weight is seen as a matrix [m, n], its first axis against all others; per example its gradient is a sum over positions
of outer products of what entered the layer and what came back, so `rows.T @ gradient @ cols` needs only the projected
factors and never the gradient. The sides are Rademacher, scaled so that E[side @ side.T] = I: inner products are kept
in expectation. The sides belong to the parameter, not to a layer, so a parameter used twice is summed correctly.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.seeds import torch_rng

# Changes when the same seed would give other sketches than before: features are then no longer of one space.
SKETCHES = 3


@dataclass(frozen=True)
class Block:
    """Where one parameter's (projected) gradient stands in an example's row, and its two sides (None: identity)."""

    name: str
    shape: torch.Size
    start: int
    rows: Float[Tensor, "m r"] | None = None
    cols: Float[Tensor, "n s"] | None = None

    @cached_property
    def matrix_shape(self) -> tuple[int, int]:
        """[m, n] of the gradient, before projection; a vector or a scalar is one column."""
        m = self.shape[0] if self.shape else 1
        return m, math.prod(self.shape[1:])

    @cached_property
    def kept_shape(self) -> tuple[int, int]:
        """The shape [r, s] of the gradient as it is kept, after projection."""
        m, n = self.matrix_shape
        return (m if self.rows is None else self.rows.shape[1]), (n if self.cols is None else self.cols.shape[1])

    @cached_property
    def size(self) -> int:
        """Numbers in a row that this block takes."""
        return math.prod(self.kept_shape)

    def project(self, gradients: Tensor) -> Float[Tensor, "b size"]:
        """Whole gradients [b, *shape] of this parameter as they stand in the rows."""
        if self.rows is None and self.cols is None:
            return gradients.reshape(len(gradients), self.size)
        kept = gradients.reshape(len(gradients), *self.matrix_shape)
        if self.rows is not None:
            kept = self.rows.T.to(kept.dtype) @ kept
        if self.cols is not None:
            kept = kept @ self.cols.to(kept.dtype)
        return kept.reshape(len(gradients), self.size)


class Rows:
    """The rows [b, D] of a batch, to which each use of each parameter adds its (projected) gradient."""

    def __init__(self, num_examples: int, size: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.num_examples = num_examples
        self.values = torch.zeros(num_examples, size, dtype=dtype, device=device)

    def of(self, block: Block) -> Float[Tensor, "b r s"]:
        """The numbers of this block in every row, a view: what is added to it is added to the rows."""
        kept = self.values[:, block.start : block.start + block.size]
        return kept.view(self.num_examples, *block.kept_shape)

    def side(self, block: Block) -> Float[Tensor, "m r"] | None:
        """What projects the first axis of gradients that are added to this block."""
        return block.rows

    def add_outer(self, block: Block, left: Float[Tensor, "b r t"], right: Float[Tensor, "b t s"]) -> None:
        """Add sum_t left[:, t] right[t, :], both projected already."""
        # Not baddbmm_: on this strided target it runs one small product at a time.
        self.of(block).add_(torch.bmm(left.to(self.values.dtype), right.to(self.values.dtype)))

    def add_at(self, block: Block, indices: Int[Tensor, "b t"], values: Float[Tensor, "b t s"]) -> None:
        """Add values[:, t], projected already, to the rows of the gradient that were looked up: indices[:, t]."""
        kept = self.of(block)
        for example, (places, gradients) in enumerate(zip(indices, values, strict=True)):
            kept[example].index_add_(0, places, gradients.to(kept.dtype))

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        """Add whole gradients, not projected yet, [b, *shape] or flattened."""
        self.values[:, block.start : block.start + block.size].add_(block.project(gradients))


def whole_blocks(parameters: Mapping[str, nn.Parameter]) -> dict[str, Block]:
    """Every gradient entire, flattened, in the order given: a row is the flattened gradient."""
    blocks, start = {}, 0
    for name, parameter in parameters.items():
        blocks[name] = Block(name, parameter.shape, start)
        start += blocks[name].size
    return blocks


def two_sided_blocks(parameters: Mapping[str, nn.Parameter], *, k: int, seed: int) -> dict[str, Block]:
    """Matrices projected on both sides, vectors (biases, norms) entire.

    A side stays as it is where projection would not make it smaller (the first axis: less than half as large).
    """
    return _blocks(parameters, _side, k=k, seed=seed)


def masked_blocks(parameters: Mapping[str, nn.Parameter], *, k: int, seed: int) -> dict[str, Block]:
    """Matrices cut down to a random subset of the coordinates of each side (FactGraSS, arXiv 2505.18976).

    A subset is twice as large as the side that `two_sided_blocks` projects to. A coordinate kept is scaled by
    sqrt(size / kept), so that inner products are kept in expectation.
    """
    return _blocks(parameters, _mask, k=k, seed=seed)


def layer_sizes(blocks: Mapping[str, Block]) -> dict[str, int]:
    """Numbers in a row of each layer (parameters of one module), in their order."""
    sizes: dict[str, int] = {}
    for name, block in blocks.items():
        layer = name.rpartition(".")[0] or name
        sizes[layer] = sizes.get(layer, 0) + block.size
    return sizes


def _blocks(parameters: Mapping[str, nn.Parameter], side: Callable, *, k: int, seed: int) -> dict[str, Block]:
    num_matrices = sum(parameter.ndim > 1 for parameter in parameters.values())
    blocks, start = {}, 0
    for name, parameter in parameters.items():
        rows = cols = None
        if parameter.ndim > 1:
            m, n = Block(name, parameter.shape, 0).matrix_shape
            height, width = side_of(n // 4, k, num_matrices), side_of(m // 8, k, num_matrices)
            if m > 2 * height:  # less is cheaper to multiply by what entered than to project first
                rows = side(m, height, parameter, seed, name, "rows")
            cols = side(n, width, parameter, seed, name, "cols")
        blocks[name] = Block(name, parameter.shape, start, rows, cols)
        start += blocks[name].size
    return blocks


def side_of(affordable: int, k: int, num_matrices: int) -> int:
    """How wide the projection of one side of a matrix is: 16 to 32, within that what is `affordable`.

    Projecting a side to r costs r / (size of the other side) of the layer's own product: at most a quarter for what
    comes back, an eighth for what enters, which a convolution projects as slowly as it computes. More where a few
    matrices carry a large k: together they hold 4k numbers or more, so that the last sketch sets the error.
    """
    needed = 8 * math.ceil(math.sqrt(4 * k / max(num_matrices, 1)) / 8)
    return max(needed, min(max(16, affordable), 32))


def _side(size: int, side: int, parameter: Tensor, seed: int, *names: str) -> Tensor | None:
    if size <= side:
        return None
    signs = torch.randint(0, 2, (size, side), generator=torch_rng(seed, "two-sided", *names), dtype=torch.int8)
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    return ((2 * signs - 1).to(dtype) / math.sqrt(side)).to(parameter.device)


def _mask(size: int, side: int, parameter: Tensor, seed: int, *names: str) -> Tensor | None:
    kept = 2 * side
    if size <= kept:
        return None
    places = torch.randperm(size, generator=torch_rng(seed, "factor-mask", *names))[:kept].sort().values
    chosen = torch.zeros(size, kept, dtype=torch.promote_types(parameter.dtype, torch.float32))
    chosen[places, torch.arange(kept)] = math.sqrt(size / kept)
    return chosen.to(parameter.device)
