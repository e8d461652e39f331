"""Directions in parameter space, and the slope <grad f(z), v> of every example z of a batch along each.

Slopes come from the hooks, with the directions as the sides that layers project to: per position l^T (V r), where V r
is one more application of the layer with V for its weight. That is one forward pass, one backward pass to activations
alone, and one forward's worth of products a direction: as many multiplications as a training step, for one. (Forward
mode needs two forward's worth a direction beside the forward pass: the same for one direction, more for several.)
Directions are sums of gradients over examples: plain backward passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import Block, Rows
from thresher.attribution.gradients.engine import Directions, EngineUser, GradientEngine
from thresher.attribution.gradients.layers import Unsupported
from thresher.data.batches import Part
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs, logits_of, outputs_of

# How far slopes may be from those of plain autograd, relative to the norms of gradient and direction.
TOLERANCE = 1e-3


@full_float32()
def weighted_gradients(
    model: nn.Module,
    names: Sequence[str],
    part: Part,
    weights: Float[Tensor, "n d"],
    output: str = "margin",
    *,
    by_confidence: bool = False,
) -> Directions:
    """sum_i weights[i, d] grad f(z_i) for each d, over the parameters `names`; by_confidence: of weights times p."""
    parameters = [model.get_parameter(name) for name in names]
    num_directions = weights.shape[1]
    dtypes = [torch.promote_types(parameter.dtype, torch.float32) for parameter in parameters]
    totals = [
        torch.zeros(num_directions, *parameter.shape, dtype=dtype, device=parameter.device)
        for parameter, dtype in zip(parameters, dtypes, strict=True)
    ]
    device, sums = parameters[0].device, torch.zeros(num_directions, dtype=torch.float64)
    for shares, batch in part.batches():
        batch = {name: value.to(device) for name, value in batch.items()}
        with torch.enable_grad():
            outputs = outputs_of(logits_of(model, batch), batch["labels"])
            values = getattr(outputs, output)
        for column in range(num_directions):
            some = weights[torch.from_numpy(shares.owners), column] * torch.from_numpy(shares.weights).to(weights)
            some = some * outputs.confidence.to(some) if by_confidence else some
            sums[column] += some.sum()
            more = column + 1 < num_directions
            gradients = torch.autograd.grad(
                values, parameters, some.to(values), retain_graph=more, materialize_grads=True
            )
            for total, gradient in zip(totals, gradients, strict=True):
                total[column] += gradient
    if by_confidence:  # as large in all as without
        factors = (weights.sum(dim=0) / sums).to(device)
        totals = [total * factors.to(total).view(-1, *[1] * (total.ndim - 1)) for total in totals]
    return dict(zip(names, totals, strict=True))


def mean_gradients(
    engine: GradientEngine, parts: Sequence[Part], output: str, *, by_confidence: bool = False
) -> Directions:
    """The mean gradient of each part over the engine's parameters, [parts, *shape] by parameter.

    With `by_confidence` each window weighs in by its p.
    """
    means = [
        weighted_gradients(
            engine.model,
            engine.names,
            part,
            torch.ones(len(part), 1).double() / len(part),
            output,
            by_confidence=by_confidence,
        )
        for part in parts
    ]
    return {name: torch.cat([mean[name] for mean in means]) for name in engine.names}


class Slopes(EngineUser):
    """Reads batches as the slope of every example along d directions, [b, d].

    `probe` is the batch that the engine is verified with, and the slopes after it; options are `GradientEngine`'s.
    `directions` holds all parameters that the options choose. Raises InputError where slopes are not autograd's.
    """

    def __init__(self, model: nn.Module, probe: Batch, directions: Directions, **options: Any) -> None:
        self.engine = GradientEngine(model, **options)
        self.engine.read_anew(probe)
        dtype = self.engine.dtype
        lookups = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        blocks = {
            name: _sided(block, directions[name].to(dtype), id(model.get_parameter(name)) in lookups)
            for name, block in self.engine.blocks.items()
        }
        self.engine.capture_through(blocks)
        self._directions = {name: directions[name].flatten(1).to(dtype) for name in blocks}
        self._check(probe)

    def read(self, batch: Batch) -> tuple[Float[Tensor, "b d"], Outputs]:
        """Slopes and outputs of a batch, detached."""
        rows = _Slopes(len(batch["labels"]), self._directions, self.engine.dtype, self.engine.device)
        outputs = self.engine.read(batch, rows)
        return rows.values, outputs

    @full_float32()
    def _check(self, probe: Batch) -> None:
        """Refuse a model whose slopes are not those of plain autograd."""
        slopes, _ = self.read(probe)
        scale = torch.cat(list(self._directions.values()), dim=1).norm(dim=1)
        for example in range(len(slopes)):
            gradients = self.engine.autograd({name: value[[example]] for name, value in probe.items()})
            exact = sum(
                direction @ gradients[name].flatten().to(self.engine.dtype)
                for name, direction in self._directions.items()
            )
            size = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm() * scale
            if bool(((slopes[example] - exact).abs() > TOLERANCE * size).any()):
                raise InputError("the hooks on this model's layers do not give its slopes; score it by features")


class _Slopes(Rows):
    """[b, d]: what is added to a block adds its inner product with each direction."""

    def __init__(
        self, num_examples: int, directions: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(num_examples, len(next(iter(directions.values()))), dtype=dtype, device=device)
        self._directions = directions

    def of(self, block: Block) -> Tensor:
        raise Unsupported

    def add_outer(self, block: Block, left: Float[Tensor, "b r t"], right: Float[Tensor, "b t s"]) -> None:
        """One of the sides went through the directions: sum over positions of l^T (V r), or of (V^T l)^T r."""
        through, other = (left.mT, right) if block.rows is not None else (right, left.mT)
        num_directions = self.values.shape[1]
        through = through.unflatten(2, (num_directions, -1))
        for column in range(num_directions):
            self.values[:, column] += (through[:, :, column] * other).sum(dim=(1, 2), dtype=self.values.dtype)

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        self.values.add_(gradients.flatten(1).to(self.values) @ self._directions[block.name].T)


def _sided(block: Block, direction: Float[Tensor, "d *shape"], is_lookup: bool) -> Block:
    """The block with the directions, side by side, as its side: the one that leaves fewer numbers a position.

    Lookups take the first axis, convolutions the others, which makes V r a convolution: no patches are laid out.
    """
    m, n = block.matrix_shape
    matrices = direction.reshape(-1, m, n)
    if len(block.shape) == 2 and (is_lookup or n <= m):
        return replace(block, rows=matrices.transpose(0, 1).reshape(m, -1), cols=None)
    if len(block.shape) > 1:
        return replace(block, rows=None, cols=matrices.permute(2, 0, 1).reshape(n, -1))
    return block
