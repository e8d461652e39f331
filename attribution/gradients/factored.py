"""Per-example gradients with no projection, each in the cheaper of two forms for products with others.

A weight [m, n] whose layer sees t positions of an example has the gradient sum_t l_t r_t^T (r entered, l came back).

    whole     m n numbers;       <g_i, g_j> costs m n
    factors   t (m + n) numbers; <g_i, g_j> = sum_{t, s} <l_it, l_js> <r_it, r_js> costs t^2 (m + n)

("Ghost" products: arXiv 1510.01799, 2406.11011.) A parameter used twice has the positions of both uses: the product of
sums holds their cross terms. Vectors, lookups and what only the fallback reaches stay whole.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import Block, Rows, whole_blocks
from thresher.attribution.gradients.engine import Directions, EngineUser, GradientEngine
from thresher.attribution.gradients.layers import Unsupported
from thresher.devices import full_float32
from thresher.outputs import Batch, Outputs

# Products of positions held at once: 64 MB of float32.
PRODUCTS = 2**24


class Gradients(Rows):
    """The gradients of a batch of examples. `whole` says where the parameters kept whole stand in the rows."""

    def __init__(self, num_examples: int, whole: Mapping[str, Block], dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(num_examples, sum(block.size for block in whole.values()), dtype=dtype, device=device)
        self._whole = whole
        self._uses: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def of(self, block: Block) -> Float[Tensor, "b r s"]:
        """The numbers of a block that is kept whole; for others the rule that asks is refused."""
        return super().of(self._place(block))

    def add_outer(self, block: Block, left: Float[Tensor, "b r t"], right: Float[Tensor, "b t s"]) -> None:
        """Add the product to a block kept whole, or keep both factors."""
        if block.name in self._whole:
            super().add_outer(block, left, right)
        else:
            self._uses.setdefault(block.name, []).append((left.mT.to(self.values), right.to(self.values)))

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        """Add to a block kept whole; for others the rule that asks is refused."""
        super().add_whole(self._place(block), gradients)

    @full_float32()
    def inner(self, other: "Gradients") -> Float[Tensor, "b c"]:
        """<g_i, g_j> of each example of this batch and each of the other."""
        total = self.values @ other.values.T
        for name in self._uses.keys() & other._uses.keys():
            (left, right), (its_left, its_right) = self._factors(name), other._factors(name)
            step = max(1, PRODUCTS // (left.shape[1] * its_left.shape[0] * its_left.shape[1]))
            for low in range(0, len(left), step):
                rows = slice(low, low + step)
                products = _by_position(left[rows], its_left) * _by_position(right[rows], its_right)
                total[rows] += products.view(-1, left.shape[1], *its_left.shape[:2]).sum(dim=(1, 3))
        return total

    @full_float32()
    def along(self, directions: Directions) -> Float[Tensor, "b d"]:
        """<g_i, v_d> of each example and each direction; no factored gradient is multiplied out."""
        num_directions = len(next(iter(directions.values())))
        total = self.values.new_zeros(self.num_examples, num_directions)
        for name, block in self._whole.items():
            rows = self.values[:, block.start : block.start + block.size]
            total += rows @ directions[name].reshape(num_directions, -1).to(rows).T
        for name in self._uses:
            left, right = self._factors(name)
            for column, direction in enumerate(directions[name]):
                matrix = direction.reshape(left.shape[2], right.shape[2]).to(right)
                total[:, column] += (right @ matrix.T).mul_(left).sum(dim=(1, 2))
        return total

    def _factors(self, name: str) -> tuple[Float[Tensor, "b t m"], Float[Tensor, "b t n"]]:
        """Those of all uses, one after the other along the positions."""
        uses = self._uses[name]
        if len(uses) > 1:
            uses[:] = [(torch.cat([left for left, _ in uses], dim=1), torch.cat([right for _, right in uses], dim=1))]
        return uses[0]

    def _place(self, block: Block) -> Block:
        if block.name not in self._whole:
            raise Unsupported
        return self._whole[block.name]


class GradientReader(EngineUser):
    """Reads batches as `Gradients`, each parameter in the form that makes products of two examples cheaper.

    `probe` is the batch that the engine is verified with and whose positions are counted; options are
    `GradientEngine`'s.
    """

    factored: frozenset[str]
    """The parameters whose gradients are kept in factors."""
    numbers: int
    """That one example's gradients take, for an example with as many positions as the probe's."""

    def __init__(self, model: nn.Module, probe: Batch, **options: Any) -> None:
        self.engine = GradientEngine(model, **options)
        self.engine.read_anew(probe)
        blocks = self.engine.blocks
        factored = {name: t for name, t in self._positions(probe).items() if self._is_cheaper(name, t)}
        parameters = {name: model.get_parameter(name) for name in blocks if name not in factored}
        self._whole = whole_blocks(parameters)
        self.factored = frozenset(factored)
        self.numbers = sum(block.size for block in self._whole.values()) + sum(
            t * sum(blocks[name].matrix_shape) for name, t in factored.items()
        )

    def read(self, batch: Batch) -> tuple[Gradients, Outputs]:
        """Gradients and outputs of a batch, detached."""
        gradients = Gradients(len(batch["labels"]), self._whole, self.engine.dtype, self.engine.device)
        outputs = self.engine.read(batch, gradients)
        return gradients, outputs

    def _positions(self, probe: Batch) -> dict[str, int]:
        """Positions an example of each parameter whose gradient is a sum of outer products alone."""
        uses = _Uses(len(probe["labels"]), self.engine.dtype, self.engine.device)
        self.engine.read(probe, uses)
        return {name: count for name, count in uses.positions.items() if name not in uses.whole}

    def _is_cheaper(self, name: str, positions: int) -> bool:
        m, n = self.engine.blocks[name].matrix_shape
        return positions**2 * (m + n) < m * n


class _Uses(Rows):
    """Counts instead of adding: positions of outer products, and the blocks that had anything else added."""

    def __init__(self, num_examples: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(num_examples, 0, dtype=dtype, device=device)
        self.positions: Counter[str] = Counter()
        self.whole: set[str] = set()

    def of(self, block: Block) -> Float[Tensor, "b r s"]:
        self.whole.add(block.name)
        return self.values.new_zeros(self.num_examples, *block.kept_shape)

    def add_outer(self, block: Block, left: Float[Tensor, "b r t"], right: Float[Tensor, "b t s"]) -> None:
        self.positions[block.name] += right.shape[1]

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        self.whole.add(block.name)


def _by_position(a: Float[Tensor, "b t m"], c: Float[Tensor, "c s m"]) -> Float[Tensor, "bt cs"]:
    return a.flatten(0, 1) @ c.flatten(0, 1).T
