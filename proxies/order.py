"""Which examples each step sees: any subset, any mixture of domains, from the seed and the step alone."""

import hashlib
import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.seeds import numpy_rng


class Order:
    """The sequence of draws of one run, cut into `num_steps` batches whose sizes differ by at most one.

    An epoch is as many draws as there are `indices`. Without a mixture it is a permutation of them, and two subsets of
    one pool keep the same relative order for the same seed, so that their runs differ by the subset alone.
    With a mixture each domain gives its share of every epoch's draws, in passes without replacement.
    """

    def __init__(
        self,
        examples: Examples,
        indices: Int[np.ndarray, " m"],
        mixture: dict[str, float] | None,
        *,
        seed: int,
        num_steps: int,
        num_draws: int,
    ):
        self.seed, self.num_steps, self.num_draws = seed, num_steps, num_draws
        self.indices, self.num_pool = indices, len(examples)
        self.occurrence = _occurrence(indices)
        self.members: dict[str, np.ndarray] = {}
        if mixture is not None:
            domains = examples.domains[indices]
            self.members = {name: indices[domains == name] for name in mixture if mixture[name] > 0}
            self.quota = dict(zip(self.members, apportion(mixture, self.members, len(indices)), strict=True))
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, step: int) -> Int[np.ndarray, " b"]:
        """Positions in the pool, in the order drawn."""
        start, stop = (self.num_draws * edge // self.num_steps for edge in (step, step + 1))
        size = len(self.indices)
        parts = []
        for epoch in range(start // size, (stop - 1) // size + 1):
            parts.append(self._epoch(epoch)[max(start - epoch * size, 0) : stop - epoch * size])
        return np.concatenate(parts)

    def passes(self) -> dict[str, float]:
        """How many times an example of each domain is seen on average (`all` without a mixture)."""
        epochs = self.num_draws / len(self.indices)
        if not self.members:
            return {"all": epochs}
        return {name: epochs * self.quota[name] / len(self.members[name]) for name in self.members}

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        if not self.members:
            # One key an example of the pool, whatever the subset; its repetitions are spread by the golden ratio.
            keys = numpy_rng(self.seed, "order", epoch).random(self.num_pool)[self.indices]
            return self.indices[np.argsort((keys + self.occurrence * 0.6180339887498949) % 1, kind="stable")]
        drawn = [self._from_domain(name, epoch * quota, (epoch + 1) * quota) for name, quota in self.quota.items()]
        return numpy_rng(self.seed, "mixture", epoch).permutation(np.concatenate(drawn))

    def _from_domain(self, name: str, start: int, stop: int) -> np.ndarray:
        members = self.members[name]
        size = len(members)
        parts = [members[:0]]
        for turn in range(start // size, math.ceil(stop / size)):
            turned = numpy_rng(self.seed, "domain", name, turn).permutation(members)
            parts.append(turned[max(start - turn * size, 0) : stop - turn * size])
        return np.concatenate(parts)


def apportion(mixture: dict[str, float], names: dict[str, np.ndarray], total: int) -> list[int]:
    """Whole numbers of draws that sum to `total`, by largest remainder."""
    exact = np.array([mixture[name] for name in names]) / sum(mixture.values()) * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts.tolist()


def check_indices(indices: np.ndarray | None, num_examples: int) -> Int[np.ndarray, " m"]:
    """Positions as int64, all of the pool for None; refuses an empty list and what is not a position."""
    indices = np.arange(num_examples) if indices is None else np.asarray(indices)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise InputError(f"indices are {indices.dtype} of shape {indices.shape}; pass a list of whole positions")
    if not len(indices):
        raise InputError("no examples to train on: the list of indices is empty; keep at least one")
    if indices.min() < 0 or indices.max() >= num_examples:
        worst = indices.min() if indices.min() < 0 else indices.max()
        raise InputError(
            f"index {worst} is outside of the pool's {num_examples} examples; pass 0 to {num_examples - 1}"
        )
    return indices.astype(np.int64)


def check_weights(weights: np.ndarray | None, num_examples: int) -> Float[np.ndarray, " n"] | None:
    """One finite weight of 0 or more for each example of the pool (not of `indices`), as float64."""
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (num_examples,):
        raise InputError(f"weights have shape {weights.shape}; pass one for each of the pool's {num_examples} examples")
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        raise InputError(
            f"weight {weights[wrong][0]} of example {wrong.argmax()}; weights are finite numbers of 0 or more"
        )
    if not weights.any():
        raise InputError("all weights are 0; give at least one example a weight above 0")
    return weights


def check_mixture(mixture: dict[str, float] | None, examples: Examples, indices: np.ndarray) -> dict[str, float] | None:
    """Shares that sum to 1, of domains that the chosen examples have; domains left out have share 0."""
    if mixture is None:
        return None
    present = np.unique(examples.domains[indices]).tolist()
    for name, share in mixture.items():
        if not 0 <= share <= 1:
            raise InputError(f"domain {name!r} has share {share}; shares are numbers from 0 to 1")
        if share > 0 and name not in present:
            raise InputError(f"domain {name!r} has no example here; the domains are: {', '.join(present)}")
    total = sum(mixture.values())
    if abs(total - 1) > 1e-3:
        raise InputError(f"the mixture's shares sum to {total:.4g}; make them sum to 1")
    return {name: float(share) for name, share in mixture.items()}


def hash_array(array: np.ndarray) -> str:
    header = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def _occurrence(indices: np.ndarray) -> np.ndarray:
    """For each entry, how many equal entries come before it: 0 throughout when nothing repeats."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    first = np.searchsorted(ordered, ordered, side="left")
    occurrence = np.empty(len(indices), dtype=np.int64)
    occurrence[order] = np.arange(len(indices)) - first
    return occurrence
