"""The kernel of per-example gradients, G G^T [n, n], with a tile of G in memory at a time.

A tile, as many examples as the memory allows, meets every batch after it: n / (2 tile) passes over the examples and
n^2 / 2 inner products, each parameter in its cheaper form (see `factored`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thresher.attribution.gradients.factored import GradientReader, Gradients
from thresher.data.batches import Part, Shares
from thresher.errors import InputError
from thresher.outputs import Outputs


class Read(NamedTuple):
    """A batch of a part, read."""

    shares: Shares
    gradients: Gradients
    outputs: Outputs


def gram(
    reader: GradientReader,
    part: Part,
    memory: float,
    *,
    each_tile: Callable[[list[Read]], None],
    advance: Callable[[int], None] = lambda done: None,
) -> Float[Tensor, "n n"]:
    """<g_i, g_j> of all examples of `part`, in float64, with `memory` bytes of gradients.

    `each_tile` sees the gradients of every example once; `advance` is told how many pairs (`num_pairs`) were done.
    """
    kernel = torch.zeros(len(part), len(part), dtype=torch.float64)
    batches = list(part.memberships(batch_size(reader, memory)))

    def read(members: Int[np.ndarray, "b"]) -> Read:
        return Read(part.shares(members), *reader.read(part.batch(members)))

    def add(first: Read, second: Read) -> None:
        products = first.gradients.inner(second.gradients).cpu().double()
        add_products(kernel, products, first.shares, second.shares)
        if first is not second:
            add_products(kernel, products.T, second.shares, first.shares)
        advance(len(first.shares) * len(second.shares))

    start = 0
    for stop in _tiles(batches, 2 * batch_size(reader, memory)):
        held = [read(members) for members in batches[start:stop]]
        each_tile(held)
        for index, first in enumerate(held):
            for second in held[index:]:
                add(first, second)
        for members in batches[stop:]:
            later = read(members)
            for first in held:
                add(first, later)
        start = stop
    _refuse_nonfinite(kernel, part)
    return kernel


def add_products(kernel: Float[Tensor, "n t"], products: Float[Tensor, "b c"], rows: Shares, columns: Shares) -> None:
    """Add products of windows to the kernel of the examples: <sum_w a_w g_w, sum_v b_v g_v>."""
    some, inside = np.unique(columns.owners, return_inverse=True)
    summed = torch.zeros(products.shape[0], len(some), dtype=kernel.dtype)
    summed.index_add_(1, torch.from_numpy(inside), products * torch.from_numpy(columns.weights))
    owners, at = np.unique(rows.owners, return_inverse=True)
    block = torch.zeros(len(owners), len(some), dtype=kernel.dtype)
    block.index_add_(0, torch.from_numpy(at), summed * torch.from_numpy(rows.weights)[:, None])
    kernel[torch.from_numpy(owners)[:, None], torch.from_numpy(some)] += block


def num_pairs(reader: GradientReader, part: Part, memory: float) -> int:
    """Pairs of windows that `gram` multiplies: all with each other once, within a batch twice."""
    sizes = np.array([len(members) for members in part.memberships(batch_size(reader, memory))])
    return int((sizes.sum() ** 2 + (sizes**2).sum()) // 2)


def batch_size(reader: GradientReader, memory: float) -> int:
    """Examples read at once: their gradients take a quarter of the memory. Refuses where not even one fits."""
    each = reader.numbers * reader.engine.dtype.itemsize
    if each > memory / 4:
        raise InputError(
            f"the gradients of one example take {each / 1e9:.3g} GB, a quarter of the {memory / 1e9:.3g} GB left for "
            "them is less; give more memory, choose parameters, or score by features"
        )
    return int(memory / 4 / each)


def _tiles(batches: list[Int[np.ndarray, "_"]], most: int) -> Iterator[int]:
    """Where each tile ends, in batches: at most `most` examples in each."""
    count = 0
    for index, members in enumerate(batches):
        if count + len(members) > most:
            yield index
            count = 0
        count += len(members)
    yield len(batches)


def _refuse_nonfinite(kernel: Float[Tensor, "n n"], part: Part) -> None:
    bad = (~kernel.diagonal().isfinite()).nonzero()[:, 0]
    if len(bad):
        example = part.examples.ids[int(part.rows[int(bad[0])])]
        raise InputError(
            f"example {example!r} has gradients that are not finite ({len(bad)} such examples); "
            "check that the model did not diverge"
        )
