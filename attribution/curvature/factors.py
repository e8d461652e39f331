"""EK-FAC factors of the Fisher, from two passes over some examples (Grosse et al. 2023, arXiv 2308.03296, section 3).

Of a group (see `groups`) the block of the curvature is (Q_l (x) Q_r) diag(Lambda) (Q_l (x) Q_r)^T:

    first pass    A = mean_t a a^T of what enters, S = mean_t g g^T of what comes back; Q: their eigenvectors
    second pass   Lambda = mean_i (Q_l^T G_i Q_r)^2, G_i the gradient of an example, all its positions and uses

both with labels drawn from the model (see `sampled`). Where one side is left as it is, the other's matrix is
mean_i G_i^T G_i but for what positions have in common: a a^T weighted by |g|^2. Memory is that of the factors and of a
batch, whatever the number of examples.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.attribution.curvature.groups import Group, groups_of, sided_blocks
from thresher.attribution.curvature.sampled import SampledLabels
from thresher.attribution.gradients.blocks import Block, Rows
from thresher.attribution.gradients.engine import GradientEngine
from thresher.data.batches import Part
from thresher.devices import full_float32
from thresher.outputs import Batch
from thresher.progress import SILENT, Progress

# Numbers of the gradients held at once in the second pass: 256 MB of float32.
HELD = 2**26


@dataclass(frozen=True)
class Factor:
    """A group's block: its eigenvectors on either side (None: the unit vectors) and its eigenvalues."""

    group: Group
    left: Float[Tensor, "m m"] | None
    right: Float[Tensor, "n n"] | None
    eigenvalues: Float[Tensor, "m n"]


@dataclass(frozen=True)
class Factors:
    """The block-diagonal curvature of one model: of the mean over examples of their mean losses."""

    blocks: tuple[Factor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that have curvature."""
        return tuple(name for factor in self.blocks for name in factor.group.names)


@full_float32()
def fit_factors(
    model: nn.Module, part: Part, *, seed: int = 0, progress: Progress = SILENT, label: str = "factors", **reading: Any
) -> Factors:
    """Factors of the examples of `part`; `reading` are options of the `GradientEngine`: `parameters`, `device`.

    Every window draws its labels from a stream of its own, so that factors depend on batches by rounding alone.
    """
    with closing(GradientEngine(model, output="loss", **reading)) as engine:
        engine.read_anew(part.probe())
        groups = groups_of(engine)
        with progress.task(label, 2 * part.num_windows) as advance:
            moments = _Moments(groups, engine)
            for windows, batch in _windows(part, None):
                moments.of_batch(windows, batch, seed)
                advance(len(windows.numbers))
            sides = moments.eigenvectors()
            blocks, size = sided_blocks(groups, sides)
            engine.capture_through(blocks)
            total = torch.zeros(size, dtype=torch.float64, device=engine.device)
            for windows, batch in _windows(part, max(1, HELD // size)):
                rows = Rotated(len(windows.numbers), size, groups, sides, blocks, engine)
                engine.read(batch, rows, windows.labels(seed))
                total += rows.values.square_().sum(dim=0)
                advance(len(windows.numbers))
    values = total / len(part)
    return Factors(
        tuple(
            Factor(group, *sides[group.weight], values[block.start : block.start + block.size].view(block.kept_shape))
            for group in groups
            for block in (blocks[group.weight],)
        )
    )


@dataclass(frozen=True)
class _Windows:
    """Windows of a batch: their numbers and shares."""

    numbers: Int[np.ndarray, "b"]
    shares: Float[np.ndarray, "b"]

    def labels(self, seed: int) -> SampledLabels:
        """What draws their labels."""
        return SampledLabels(seed, self.numbers, self.shares)


def _windows(part: Part, most: int | None) -> Iterator[tuple[_Windows, Batch]]:
    for members in part.memberships(most):
        yield _Windows(part.numbers(members), part.shares(members).weights), part.batch(members)


class Rotated(Rows):
    """Gradients in the basis of the sides, where the bias of a group is the last coordinate of what enters."""

    def __init__(
        self,
        num_examples: int,
        size: int,
        groups: Sequence[Group],
        sides: Mapping[str, tuple[Tensor | None, Tensor | None]],
        blocks: Mapping[str, Block],
        engine: GradientEngine,
    ) -> None:
        super().__init__(num_examples, size, dtype=engine.dtype, device=engine.device)
        self._blocks = blocks
        self._groups = {group.weight: group for group in groups}
        self._biases = {group.bias for group in groups}
        self._sides = sides

    def add_outer(self, block: Block, left: Float[Tensor, "b r t"], right: Float[Tensor, "b t s"]) -> None:
        """Add the product; what entered has a 1 for the bias."""
        group = self._groups[block.name]
        if group.bias is not None:
            its_left, its_right = self._sides[block.name]
            if group.entered_left and its_left is not None:
                left = left + its_left[-1].to(left)[:, None]
            elif its_right is not None:
                right = right + its_right[-1].to(right)
        super().add_outer(block, left, right)

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        """Add whole gradients, those of biases that belong to a weight excepted."""
        if block.name not in self._biases:
            super().add_whole(self._blocks[block.name], gradients)


class _Moments(Rows):
    """The first pass: sums of outer products of what enters and of what comes back."""

    def __init__(self, groups: Sequence[Group], engine: GradientEngine) -> None:
        super().__init__(0, 0, dtype=engine.dtype, device=engine.device)
        self._engine, self._groups = engine, {group.weight: group for group in groups}
        self._biases = {group.bias for group in groups}
        self._left, self._right = (
            {g.weight: self._zeros(g.shape[axis]) for g in groups if (g.left_dense, g.right_dense)[axis]}
            for axis in range(2)
        )
        self._shares, self._is_text = torch.empty(0), False

    def of_batch(self, windows: _Windows, batch: Batch, seed: int) -> None:
        """Add those of a batch."""
        self.num_examples = len(windows.numbers)
        self._shares = torch.from_numpy(windows.shares).to(self.values)
        self._is_text = "input_ids" in batch
        self._engine.read(batch, self, windows.labels(seed))

    def eigenvectors(self) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        """Of both sides of each group, None where it is left as it is."""
        return {
            name: tuple(_eigenvectors(side[name], self.values) if name in side else None for side in self._both)  # pyright: ignore[reportReturnType]
            for name in self._groups
        }

    @property
    def _both(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self._left, self._right

    def of(self, block: Block) -> Float[Tensor, "b r s"]:
        """Not kept: `add_whole` has what whole gradients add."""
        raise AssertionError("moments hold no gradients")

    def add_outer(self, block: Block, left: Float[Tensor, "b r t"], right: Float[Tensor, "b t s"]) -> None:
        """Add a a^T and g g^T over the positions."""
        group = self._groups[block.name]
        entered, gradient = (left.mT, right) if group.entered_left else (right, left.mT)
        entered, gradient = entered.to(self.values), gradient.to(self.values)
        if group.bias is not None:
            entered = torch.cat([entered, torch.ones_like(entered[..., :1])], dim=2)
        sums_a, sums_g = self._both if group.entered_left else self._both[::-1]
        if block.name in sums_a:
            if block.name in sums_g:
                # Positions of padding, and those that nothing predicted depends on, are no part of an example.
                live = gradient.any(dim=2) if self._is_text else torch.ones_like(gradient[..., 0], dtype=torch.bool)
                weights = live * (self._shares / live.sum(dim=1).clamp(min=1))[:, None]
            else:
                weights = gradient.square().sum(dim=2)
            sums_a[block.name] += _gram(entered * weights.sqrt()[..., None])
        if block.name in sums_g:
            sized = gradient if block.name in sums_a else gradient * entered.norm(dim=2, keepdim=True)
            sums_g[block.name] += _gram(sized)

    def add_at(self, block: Block, indices: Int[Tensor, "b t"], values: Float[Tensor, "b t s"]) -> None:
        """Add g g^T: what enters is one-hot."""
        if block.name in self._right:
            self._right[block.name] += _gram(values.to(self.values))

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        """Add G G^T and G^T G."""
        if block.name in self._biases:
            return
        whole = gradients.reshape(len(gradients), *self._groups[block.name].shape).to(self.values)
        if block.name in self._left:
            self._left[block.name] += _gram(whole.mT)
        if block.name in self._right:
            self._right[block.name] += _gram(whole)

    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(size, size, dtype=torch.float64, device=self.values.device)


def _gram(values: Float[Tensor, "b t n"]) -> Float[Tensor, "n n"]:
    """The sum over examples and positions of the outer products."""
    rows = values.flatten(0, 1)
    return rows.T @ rows


def _eigenvectors(matrix: Float[Tensor, "n n"], like: Tensor) -> Float[Tensor, "n n"]:
    """In float64: in float32 small eigenvalues are lost in the rounding of large ones."""
    return torch.linalg.eigh((matrix + matrix.T) / 2)[1].to(like)
