"""Sketches of a whole row: from D numbers to k, linear, fixed by a seed, the same on every device (drawn on the CPU).

Each says its `scale`: E[<phi(x), phi(y)>] = scale * <x, y>. It is 1 but for `Dense`, which keeps traker's convention,
R.T g / sqrt(P) with entries of unit variance, hence k / P.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from thresher.choices import PROJECTIONS
from thresher.devices import full_float32, memory_of, onednn_keeps_float32
from thresher.errors import InputError, unknown
from thresher.seeds import torch_rng

# traker's BasicProjector: columns in blocks of this many, each drawn from a seed of its own.
DENSE_BLOCK = 100
# Blocks multiplied at once. On a CPU by oneDNN: 346 GFLOP/s where the plain product gave 169 (2 cores of a Zen 5).
DENSE_BLOCKS = 5
# A drawn dense matrix is kept if it takes at most this share of the memory of its device; else its blocks are drawn
# again for every batch, which takes far longer than the product.
DENSE_KEPT = 0.25


@runtime_checkable
class Projector(Protocol):
    """From rows [b, D] to features [b, k]."""

    num_features: int
    scale: float

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Project a batch of rows."""
        ...


class Identity:
    """The rows themselves."""

    scale = 1.0

    def __init__(self, size: int) -> None:
        self.num_features = size

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Give the rows back as they are."""
        return rows


class Dense:
    """R.T g / sqrt(P), R of N(0, 1) or +-1 with the very seeds and blocks of traker 0.3.2's BasicProjector."""

    def __init__(self, size: int, k: int, *, kind: str, seed: int, model_id: int = 0) -> None:
        self.size, self.num_features, self.kind = size, k, kind
        self.seed = seed + 100_000 * model_id
        self.scale = k / size
        self._kept: tuple[object, list[Tensor]] = (None, [])

    @full_float32()
    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Multiply a batch of rows by R.T / sqrt(P); the matrix is kept for the next batch where memory allows it."""
        fits = rows.element_size() * self.size * self.num_features <= DENSE_KEPT * memory_of(rows.device)
        fast = rows.device.type == "cpu" and rows.dtype == torch.float32 and torch.backends.mkldnn.is_available()
        fast = fast and onednn_keeps_float32()
        kind = rows.device, rows.dtype
        if fits and self._kept[0] != kind:
            self._kept = kind, [part.to_mkldnn() if fast else part for part in self._parts(rows)]
        if fits and fast:
            laid_out = rows.to_mkldnn()
            features = torch.cat([F.linear(laid_out, part).to_dense() for part in self._kept[1]], dim=1)
        else:
            features = torch.cat([rows @ part.T for part in (self._kept[1] if fits else self._parts(rows))], dim=1)
        return features.div_(math.sqrt(self.size))

    def _parts(self, like: Tensor) -> Iterator[Float[Tensor, "width d"]]:
        """R.T drawn, some rows at a time."""
        width = min(self.num_features, DENSE_BLOCK)
        drawn = torch.empty(self.size, width)
        starts = range(0, self.num_features, width)
        for first in range(0, len(starts), DENSE_BLOCKS):
            blocks = range(first, min(first + DENSE_BLOCKS, len(starts)))
            part = like.new_empty(min(len(blocks) * width, self.num_features - starts[first]), self.size)
            for index in blocks:
                self._draw(drawn, index)
                place = part[starts[index] - starts[first] :][:width]
                place.copy_(drawn[:, : len(place)].T)
            yield part

    def _draw(self, drawn: Float[Tensor, "d width"], index: int) -> None:
        generator = torch.Generator().manual_seed(self.seed + 1000 * index)
        if self.kind == "normal":
            drawn.normal_(generator=generator)
        else:
            drawn.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)


class Sparse:
    """A sparse Johnson-Lindenstrauss sketch: each coordinate goes, with a random sign, into `nonzeros` of the k sums.

    The sums are those of a random permutation cut into rows of k (balanced CountSketch), so they need gathers and
    additions in a fixed order, never atomics: same numbers every time. With D <= k it is an isometry.
    Kane and Nelson (arXiv 1012.1577); for attribution GraSS (arXiv 2505.18976).
    """

    scale = 1.0

    def __init__(self, size: int, k: int, *, seed: int, nonzeros: int = 1, names: tuple[str | int, ...] = ()) -> None:
        self.size, self.num_features, self.nonzeros = size, k, nonzeros
        generator = torch_rng(seed, "sjlt", *names)
        padded = k * math.ceil(size / k)
        # Places beyond the row's end hold nothing: they point at coordinate 0 with sign 0.
        order = torch.stack([torch.randperm(padded, generator=generator) for _ in range(nonzeros)])
        signs = torch.randint(0, 2, order.shape, generator=generator, dtype=torch.int8) * 2 - 1
        self._signs = torch.where(order < size, signs, 0).float() / math.sqrt(nonzeros)
        self._order = torch.where(order < size, order, 0)

    @cached_property
    def places(self) -> tuple[Int[Tensor, "d"], Float[Tensor, "d"]]:
        """Which of the k sums each coordinate goes into, and its sign; of a sketch with one nonzero."""
        order, signs = self._order[0], self._signs[0]
        held = signs != 0
        places, of_coordinate = torch.empty(self.size, dtype=torch.int64), torch.empty(self.size)
        places[order[held].cpu()] = torch.arange(len(order))[held.cpu()] % self.num_features
        of_coordinate[order[held].cpu()] = signs[held].float().cpu()
        return places, of_coordinate

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Sum the signed coordinates of a batch of rows into their places."""
        if self._order.device != rows.device or self._signs.dtype != rows.dtype:
            self._order, self._signs = self._order.to(rows.device), self._signs.to(rows)
        features = rows.new_zeros(len(rows), self.num_features)
        for order, signs in zip(self._order, self._signs, strict=True):
            placed = rows.index_select(1, order).mul_(signs)
            features += placed.view(len(rows), -1, self.num_features).sum(dim=1)
        return features


class Masked:
    """A random subset of the coordinates, scaled by sqrt(D / kept), then a sparse sketch (GraSS, arXiv 2505.18976)."""

    scale = 1.0

    def __init__(self, size: int, k: int, *, seed: int, names: tuple[str | int, ...] = ()) -> None:
        kept = min(size, 8 * k)
        self.num_features = k
        self._kept = torch.randperm(size, generator=torch_rng(seed, "mask", *names))[:kept].sort().values
        self._factor = math.sqrt(size / kept)
        self._sketch = Sparse(kept, k, seed=seed, names=names)

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Take the kept coordinates of a batch of rows and sketch them."""
        self._kept = self._kept.to(rows.device)
        return self._sketch(rows.index_select(1, self._kept) * self._factor)


class PerLayer:
    """Each layer's part of the row sketched by itself, to its own share of the k numbers.

    Shares are equal, but that no layer gets more numbers than it has: what it leaves goes to the others.
    """

    scale = 1.0

    def __init__(self, sizes: Mapping[str, int], k: int, *, seed: int, names: tuple[str | int, ...] = ()) -> None:
        """`sizes`: numbers of each layer, in the order in which they stand in a row."""
        shares = _shares(sizes, k)
        self.num_features = sum(shares.values())
        self.layout = dict(zip(shares, spans(shares.values()), strict=True))
        self._parts = [
            (start, stop, Sparse(stop - start, shares[name], seed=seed, names=(*names, name)))
            for name, (start, stop) in zip(sizes, spans(sizes.values()), strict=True)
        ]
        # What one sketch of the whole row would need for the same error on random vectors.
        self.worth = sum(sizes.values()) ** 2 / sum(sizes[name] ** 2 / shares[name] for name in sizes)

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Sketch each layer's part of a batch of rows."""
        return torch.cat([sketch(rows[:, start:stop]) for start, stop, sketch in self._parts], dim=1)


def _shares(sizes: Mapping[str, int], k: int) -> dict[str, int]:
    if k < len(sizes):
        raise InputError(f"k={k} numbers are too few for {len(sizes)} layers; pass {len(sizes)} or more")
    shares, left = {}, k
    for place, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):  # the smallest first
        shares[name] = min(sizes[name], left // (len(sizes) - place))
        left -= shares[name]
    return {name: shares[name] for name in sizes}


def spans(lengths: Iterable[int]) -> list[tuple[int, int]]:
    """Where parts of these lengths start and stop, one behind the other."""
    stops = list(accumulate(lengths))
    return list(pairwise([0, *stops]))


AUTO = "auto"
SIDED = ("two-sided", "two-sided-layers", "factor-mask")
LANGUAGE, CLASSES = ("sjlt", 8192), ("sjlt", 4096)
"""Projection and k by task: the fewest numbers, of powers of 2, that keep 95 % of the exact kernel's LDS at 5
checkpoints (docs/projections.md)."""


def usual(projection: str, k: int | None, *, is_classified: bool) -> tuple[str, int]:
    """The projection and k that are asked for, what is left open filled in by the task of the examples.

    Gradients of a classifier share more directions than those of texts under a language model, which are nearly at
    right angles (cosines of .05). The small sides of a two-sided projection add an error to either that no k takes
    away.
    """
    usual_projection, usual_k = CLASSES if is_classified else LANGUAGE
    return (usual_projection if projection == AUTO else projection), (usual_k if k is None else k)


def check_request(projection: str, k: int) -> None:
    """Raise InputError on an unknown projection or k < 1."""
    if projection not in PROJECTIONS:
        raise unknown("projection", projection, PROJECTIONS)
    if k < 1:
        raise InputError(f"k={k} features were asked for; pass 1 or more")


def make_projector(
    projection: str, size: int, k: int, *, seed: int, model_id: int = 0, layers: Mapping[str, int] | None = None
) -> Projector:
    """The sketch of rows of `size` numbers that `projection` ends with; InputError on an unknown name or k < 1.

    `layers`: how many numbers of a row each layer has, in their order; two-sided-layers needs it.
    """
    check_request(projection, k)
    if projection == "identity":
        return Identity(size)
    if projection in ("normal", "rademacher"):
        return Dense(size, k, kind=projection, seed=seed, model_id=model_id)
    if projection == "mask+sjlt":
        return Masked(size, k, seed=seed, names=(model_id,))
    if projection == "two-sided-layers":
        return PerLayer(layers or {"all": size}, k, seed=seed, names=(model_id,))
    return Sparse(size, k, seed=seed, names=(model_id,))


def check_projection(
    projector: Projector, size: int, *, device: torch.device | None = None, seed: int = 0
) -> dict[str, float]:
    """Refuse a projector that loses norms or inner products of random vectors beyond what chance allows.

    A sketch to k keeps inner products of unit vectors to about sqrt(2 / k); six times that is allowed. A faulty device
    shows as zeros (traker issue 81) or NaN. Raises InputError; returns the largest `error` and the `bound` on it.
    """
    vectors = torch.randn(4, size, generator=torch_rng(seed, "check")).to(device or "cpu")
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    features = projector(vectors)
    if not bool(features.isfinite().all()) or bool((features == 0).all(dim=1).any()):
        raise InputError(
            "the projection gives all-zero or non-finite features on random vectors; "
            "choose another projection or device, nothing scored with it would mean anything"
        )
    error = float((features @ features.T / projector.scale - vectors @ vectors.T).abs().max())
    worth = getattr(projector, "worth", projector.num_features)
    bound = 6 * math.sqrt(2 / worth) + 12 / worth
    if error > bound:
        raise InputError(
            f"the projection changes inner products of random vectors by {error:.3f}, at most {bound:.3f} is allowed "
            f"for k={projector.num_features}; choose another projection, device or seed"
        )
    return {"error": error, "bound": bound}
