"""Sketches of a whole row: from D numbers to k, linear, fixed by a seed, the same on every device (drawn on the CPU).

Each says its `scale`: E[<phi(x), phi(y)>] = scale * <x, y>. It is 1 but for `Dense`, which keeps traker's convention,
R.T g / sqrt(P) with entries of unit variance, hence k / P.
"""

import math
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from thresher.errors import InputError
from thresher.seeds import torch_rng

# traker's BasicProjector: columns in blocks of this many, each drawn from a seed of its own.
DENSE_BLOCK = 100
# A drawn dense matrix is kept up to this many bytes; beyond it, blocks are drawn again for every batch.
DENSE_KEPT = 2 * 2**30
# The last sketch of two-sided rows is dense up to this many entries, sparse beyond.
CHEAP_DENSE = 2**23


class Projector(Protocol):
    """From rows [b, D] to features [b, k]."""

    num_features: int
    scale: float

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]: ...


class Identity:
    """The rows themselves."""

    scale = 1.0

    def __init__(self, size: int) -> None:
        self.num_features = size

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return rows


class Dense:
    """R.T g / sqrt(P), R of N(0, 1) or +-1 with the very seeds and blocks of traker 0.3.2's BasicProjector."""

    def __init__(self, size: int, k: int, *, kind: str, seed: int, model_id: int = 0) -> None:
        self.size, self.num_features, self.kind = size, k, kind
        self.seed = seed + 100_000 * model_id
        self.scale = k / size
        self._kept: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        self._keeps = 4 * size * k <= DENSE_KEPT

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        starts = range(0, self.num_features, min(self.num_features, DENSE_BLOCK))
        columns = [rows @ self._block(index, start, rows) for index, start in enumerate(starts)]
        return torch.cat(columns, dim=1) / math.sqrt(self.size)

    def _block(self, index: int, start: int, like: Tensor) -> Float[Tensor, "d width"]:
        key = (index, like.dtype, like.device)
        if key in self._kept:
            return self._kept[key]
        generator = torch.Generator().manual_seed(self.seed + 1000 * index)
        drawn = torch.empty(self.size, min(self.num_features, DENSE_BLOCK))
        if self.kind == "normal":
            drawn.normal_(generator=generator)
        else:
            drawn.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
        block = drawn[:, : self.num_features - start].to(like)
        if self._keeps:
            self._kept[key] = block
        return block


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

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        if self._order.device != rows.device or self._signs.dtype != rows.dtype:
            self._order, self._signs = self._order.to(rows.device), self._signs.to(rows)
        features = rows.new_zeros(len(rows), self.num_features)
        for order, signs in zip(self._order, self._signs, strict=True):
            features += (rows.index_select(1, order) * signs).view(len(rows), -1, self.num_features).sum(dim=1)
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
        self._kept = self._kept.to(rows.device)
        return self._sketch(rows.index_select(1, self._kept) * self._factor)


class ScaledDense:
    """R.T g / sqrt(k), R of +-1: kept whole, for short rows."""

    scale = 1.0

    def __init__(self, size: int, k: int, *, seed: int, names: tuple[str | int, ...] = ()) -> None:
        self.num_features = k
        signs = torch.randint(0, 2, (size, k), generator=torch_rng(seed, "dense", *names), dtype=torch.int8)
        self._matrix = (2 * signs - 1).float() / math.sqrt(k)

    def __call__(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        if self._matrix.device != rows.device or self._matrix.dtype != rows.dtype:
            self._matrix = self._matrix.to(rows)
        return rows @ self._matrix


PROJECTIONS = ("two-sided", "normal", "rademacher", "sjlt", "mask+sjlt", "identity")


def check_request(projection: str, k: int) -> None:
    """Raise InputError on an unknown projection or k < 1."""
    if projection not in PROJECTIONS:
        raise InputError(f"projection {projection!r} is unknown; pass one of: {', '.join(PROJECTIONS)}")
    if k < 1:
        raise InputError(f"k={k} features were asked for; pass 1 or more")


def make_projector(projection: str, size: int, k: int, *, seed: int, model_id: int = 0) -> Projector:
    """The sketch of rows of `size` numbers that `projection` ends with; InputError on an unknown name or k < 1."""
    check_request(projection, k)
    if projection == "identity":
        return Identity(size)
    if projection in ("normal", "rademacher"):
        return Dense(size, k, kind=projection, seed=seed, model_id=model_id)
    if projection == "mask+sjlt":
        return Masked(size, k, seed=seed, names=(model_id,))
    if projection == "two-sided" and k < size <= CHEAP_DENSE // k:
        return ScaledDense(size, k, seed=seed, names=(model_id,))
    return Sparse(size, k, seed=seed, nonzeros=1, names=(model_id,))


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
    bound = 6 * math.sqrt(2 / projector.num_features) + 12 / projector.num_features
    if error > bound:
        raise InputError(
            f"the projection changes inner products of random vectors by {error:.3f}, at most {bound:.3f} is allowed "
            f"for k={projector.num_features}; choose another projection, device or seed"
        )
    return {"error": error, "bound": bound}
