"""Rows of k numbers to which each parameter's gradient is added as its sparse sketch, the moment it is made.

The row of all D numbers is never there: what is held beside the [b, k] sums is one parameter's gradient of as many
examples as stay in the processor's cache, so memory does not grow with the model, and what was just multiplied out is
sketched from there. The sketch is linear, so uses of a parameter that is used twice add up.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thresher.attribution.gradients.blocks import Block, Rows
from thresher.attribution.gradients.projection import Sparse, spans
from thresher.seeds import torch_rng

# Numbers of one parameter's gradients held at once: 16 MB of float32, or one example's.
HELD = 2**22


class Scattered:
    """A sketch of at most k numbers: each, with a random sign, to a place of its own. An isometry."""

    scale = 1.0

    def __init__(self, places: Int[Tensor, "d"], k: int, *, seed: int, names: tuple[str | int, ...] = ()) -> None:
        self.num_features = k
        signs = torch.randint(0, 2, places.shape, generator=torch_rng(seed, "sjlt", *names)).float() * 2 - 1
        self.places = places, signs
        """Where each number goes, and its sign."""

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """The signed numbers at their places, zeros elsewhere."""
        places, signs = (each.to(rows.device) for each in self.places)
        return rows.new_zeros(len(rows), self.num_features).index_copy_(1, places, rows * signs.to(rows))


class SumOfSketches:
    """A sparse sketch of each parameter's part of a row, each to all k numbers, and their sum.

    Hash and signs of every coordinate are drawn as in one sketch of the whole row, so the error is the same:
    sqrt(1 / k) of a product of lengths. Small parameters share out the places among them, so that where the whole row
    has at most k numbers nothing is lost.
    """

    scale = 1.0

    def __init__(self, sizes: Mapping[str, int], k: int, *, seed: int, names: tuple[str | int, ...] = ()) -> None:
        """`sizes`: numbers of each parameter, in the order in which they stand in a row."""
        self.num_features = k
        self._spans = dict(zip(sizes, spans(sizes.values()), strict=True))
        self.of: dict[str, Sparse | Scattered] = {}
        """The sketch of each parameter."""
        generator, free = torch_rng(seed, "places", *names), torch.empty(0, dtype=torch.int64)
        for name, size in sizes.items():
            if size > k:
                self.of[name] = Sparse(size, k, seed=seed, names=(*names, name))
                continue
            if size > len(free):
                free = torch.randperm(k, generator=generator)
            self.of[name] = Scattered(free[:size], k, seed=seed, names=(*names, name))
            free = free[size:]

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Sketch rows that are there as a whole."""
        features = rows.new_zeros(len(rows), self.num_features)
        for name, (start, stop) in self._spans.items():
            features += self.of[name](rows[:, start:stop])
        return features


class SketchedRows(Rows):
    """The rows [b, k] of a batch."""

    def __init__(
        self,
        num_examples: int,
        sketch: SumOfSketches,
        scales: Mapping[str, Tensor] | None = None,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`scales`: what gradients are multiplied by before they are sketched, by parameter."""
        super().__init__(num_examples, sketch.num_features, dtype=dtype, device=device)
        self._sketch, self._scales = sketch, scales

    def add_outer(self, block: Block, left: Float[Tensor, "b m t"], right: Float[Tensor, "b t n"]) -> None:
        """Add the sketch of sum_t left[:, t] right[t, :], multiplied out for a few examples at a time."""
        for some in self._parts(block):
            self._add(some, block, torch.bmm(left[some].to(self.values.dtype), right[some].to(self.values.dtype)))

    def add_whole(self, block: Block, gradients: Tensor) -> None:
        """Add the sketch of whole gradients, [b, *shape] or flattened."""
        for some in self._parts(block):
            self._add(some, block, gradients[some].to(self.values.dtype))

    def add_at(self, block: Block, indices: Int[Tensor, "b t"], values: Float[Tensor, "b t n"]) -> None:
        """Add the sketch of gradients that are zero but in these lines of a lookup: only those are touched."""
        places, signs = (each.to(self.values.device) for each in self._sketch.of[block.name].places)
        places, signs = places.view(block.kept_shape), signs.view(block.kept_shape)
        signs = signs if self._scales is None else signs * self._scales[block.name].to(signs).view(block.kept_shape)
        for row, lines, added in zip(self.values, indices, values, strict=True):
            row.index_add_(0, places[lines].flatten(), (added.to(row.dtype) * signs[lines]).flatten())

    def _add(self, some: slice, block: Block, gradients: Tensor) -> None:
        gradients = gradients.flatten(1)
        if self._scales is not None:
            gradients = gradients * self._scales[block.name].to(gradients).flatten()
        self.values[some] += self._sketch.of[block.name](gradients)

    def _parts(self, block: Block) -> Iterator[slice]:
        step = max(1, HELD // math.prod(block.kept_shape))
        return (slice(low, low + step) for low in range(0, self.num_examples, step))
