"""Which parameters share a block of the curvature, and which sides of it have an eigenbasis.

A group is a parameter seen as a matrix [m, n], its first axis against all others, with the bias of its layer as one
more column (of a `Conv1D` of `transformers`, whose rows are what enters, one more row). The block of a group is taken
to be diagonal in the basis Q_left (x) Q_right:

    linear, convolution     both sides dense: EK-FAC (Grosse et al. 2023, arXiv 2308.03296)
    embedding, tied head    the vocabulary's side is left as it is, the width's is dense: a row a token
    norm, bias by itself    a vector, one side: its block is entire, or from LARGEST on its diagonal
    anything else           from whole gradients, in the same way

The kind of a group is that of the layer, so that each kind can be damped by itself.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from thresher.attribution.gradients.blocks import Block
from thresher.attribution.gradients.engine import Directions, GradientEngine

# A side is dense up to this size, or to so many times the other side: an eigendecomposition of it is then cheap beside
# the rest. Vocabularies are beyond both.
LARGEST, TIMES_OTHER, LIMIT = 1024, 16, 2**14
WITH_BIAS = (nn.Linear, Conv1D, nn.Conv1d, nn.Conv2d)
KINDS = ("linear", "embedding", "norm", "other")
"""Linear layers and convolutions; embeddings, a tied head with them; norms; everything else."""


@dataclass(frozen=True)
class Group:
    """A weight, and the bias that is factored with it."""

    weight: str
    weight_shape: tuple[int, ...]
    bias: str | None
    entered_left: bool
    """Whether the rows of the matrix are what enters the layer (and the bias is a row), not the columns."""
    left_dense: bool
    right_dense: bool
    kind: str
    """One of `KINDS`."""

    @property
    def shape(self) -> tuple[int, int]:
        """[m, n] of the matrix, with the bias."""
        m, n = Block(self.weight, torch.Size(self.weight_shape), 0).matrix_shape
        extra = self.bias is not None
        return m + (extra and self.entered_left), n + (extra and not self.entered_left)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the group."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def matrices(self, directions: Directions) -> Float[Tensor, "d m n"]:
        """The group's part of vectors in parameter space."""
        weight = directions[self.weight]
        matrix = weight.reshape(len(weight), *Block(self.weight, torch.Size(self.weight_shape), 0).matrix_shape)
        if self.bias is None:
            return matrix
        axis = 1 if self.entered_left else 2
        return torch.cat([matrix, directions[self.bias].unsqueeze(axis)], dim=axis)

    def directions(self, matrices: Float[Tensor, "d m n"]) -> dict[str, Tensor]:
        """The inverse of `matrices`: [d, *shape] by parameter."""
        parts = {}
        if self.bias is not None:
            axis = 1 if self.entered_left else 2
            matrices, bias = matrices.split([matrices.shape[axis] - 1, 1], dim=axis)
            parts[self.bias] = bias.squeeze(axis)
        parts[self.weight] = matrices.reshape(len(matrices), *self.weight_shape)
        return parts


def groups_of(engine: GradientEngine) -> list[Group]:
    """The groups of all parameters that the engine reads, once it has verified which the hooks capture."""
    model, named = engine.model, {id(parameter): name for name, parameter in engine.model.named_parameters()}
    modules = list(model.modules())
    uses = Counter(named[id(p)] for module in modules for p in module.parameters(recurse=False))
    lookups = {named[id(module.weight)] for module in modules if isinstance(module, nn.Embedding)}
    kinds = {named[id(p)]: _kind_of(module) for module in modules for p in module.parameters(recurse=False)}
    kinds |= dict.fromkeys(lookups, "embedding")
    biases: dict[str, str] = {}
    left: set[str] = set()
    for module in modules:
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(module, WITH_BIAS) or weight is None:
            continue
        name = named[id(weight)]
        if isinstance(module, Conv1D):
            left.add(name)
        if bias is None or getattr(module, "groups", 1) > 1:
            continue
        both = {name, named[id(bias)]}
        captured = all(engine.coverage.get(each, "fallback") != "fallback" for each in both)
        if captured and uses[name] == uses[named[id(bias)]] == 1:
            biases[name] = named[id(bias)]
    groups = [
        _group(block, biases.get(name), name in left, name in lookups, kinds[name])
        for name, block in engine.blocks.items()
    ]
    taken = {group.bias for group in groups}
    return [group for group in groups if group.weight not in taken]


def _kind_of(module: nn.Module) -> str:
    if isinstance(module, WITH_BIAS):
        return "linear"
    return "norm" if "norm" in type(module).__name__.lower() else "other"


def _group(block: Block, bias: str | None, entered_left: bool, is_lookup: bool, kind: str) -> Group:
    m, n = block.matrix_shape
    left_dense = not is_lookup and m > 1 and m <= min(max(LARGEST, TIMES_OTHER * n), LIMIT)
    right_dense = n > 1 and n <= min(max(LARGEST, TIMES_OTHER * m), LIMIT)
    bias = bias if (left_dense if entered_left else right_dense) else None
    return Group(block.name, tuple(block.shape), bias, entered_left, left_dense, right_dense, kind)


def sided_blocks(
    groups: list[Group], sides: Mapping[str, tuple[Tensor | None, Tensor | None]]
) -> tuple[dict[str, Block], int]:
    """Blocks that rotate gradients by these sides [m, m] and [n, n] (None: as they are), and the numbers in a row.

    The row of a side that belongs to a bias is no part of the block: `Rotated` adds it.
    """
    blocks, start = {}, 0
    for group in groups:
        rows, cols = sides[group.weight]
        if group.bias is not None:  # what enters has the bias as its last coordinate
            if group.entered_left:
                rows = rows[:-1] if rows is not None else None
            else:
                cols = cols[:-1] if cols is not None else None
        blocks[group.weight] = Block(group.weight, torch.Size(group.weight_shape), start, rows, cols)
        start += blocks[group.weight].size
        if group.bias is not None:
            blocks[group.bias] = Block(group.bias, torch.Size([]), 0)
    return blocks, start
