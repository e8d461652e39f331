"""How much to keep: a share of the pool, a count of examples, or a number of tokens."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from thresher.errors import InputError


def num_to_keep(num_pool: int, *, fraction: float | None = None, count: int | None = None) -> int:
    """How many of `num_pool` examples to keep, from a share in (0, 1] (rounded, at least 1) or a count; exactly one."""
    if num_pool < 1:
        raise InputError("the pool is empty; give a pool with at least one example")
    if (fraction is None) == (count is None):
        raise InputError(f"fraction={fraction} and count={count} given; pass exactly one of them")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise InputError(f"fraction {fraction} is outside (0, 1]; pass the share of the pool to keep, such as 0.2")
        return max(1, round(fraction * num_pool))
    assert count is not None
    if not 1 <= count <= num_pool:
        raise InputError(f"{count} examples asked for, but the pool has {num_pool}; pass a count from 1 to {num_pool}")
    return count


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Exactly one of three. A fraction is of the whole pool's examples, also behind filters, so that selections with
    the same fraction have the same size.

    Tokens are taken in order until the next example would exceed the budget.
    `per_domain` caps the share of the budget that one domain may have (at least one example); an example over its
    domain's cap is passed over, and does not end the taking.
    """

    fraction: float | None = None
    count: int | None = None
    tokens: int | None = None
    per_domain: float | None = None

    def __post_init__(self) -> None:
        given = [self.fraction, self.count, self.tokens]
        if sum(value is not None for value in given) != 1:
            raise InputError(
                f"fraction={self.fraction}, count={self.count} and tokens={self.tokens} given; pass exactly one of them"
            )
        if self.fraction is not None:
            num_to_keep(1, fraction=self.fraction)  # refuses what is no share
        if self.tokens is not None and self.tokens < 1:
            raise InputError(f"tokens={self.tokens} keeps nothing; pass 1 or more")
        if self.per_domain is not None and not 0 < self.per_domain <= 1:
            raise InputError(f"per_domain={self.per_domain} is outside (0, 1]; pass the share one domain may have")

    def total(self, num_pool: int, num_tokens: int | None) -> int:
        """In examples, or tokens where the budget is in tokens. Raises InputError when the pool has fewer."""
        if self.tokens is None:
            return num_to_keep(num_pool, fraction=self.fraction, count=self.count)
        assert num_tokens is not None
        if self.tokens > num_tokens:
            raise InputError(
                f"{self.tokens} tokens asked for, but the pool has {num_tokens}; pass at most {num_tokens}"
            )
        return self.tokens


@dataclass(frozen=True)
class Taken:
    kept: Int[np.ndarray, "k"]
    over_cap: Int[np.ndarray, "c"]
    """What was passed over because its domain had its share."""
    is_full: bool
    """Whether the budget was reached, and not the end of the order."""


def take(
    order: Int[np.ndarray, "m"],
    total: int,
    costs: Int[np.ndarray, "n"] | None,
    domains: np.ndarray | None = None,
    per_domain: float | None = None,
) -> Taken:
    """Take from `order` until the next would exceed `total`; each position costs `costs` (None: 1)."""
    price = np.ones(len(order), dtype=np.int64) if costs is None else np.asarray(costs)[order].astype(np.int64)
    allowed = np.ones(len(order), dtype=bool)
    if per_domain is not None:
        assert domains is not None
        cap = per_domain * total + 1e-9
        names = np.asarray(domains)[order]
        for name in np.unique(names.astype(str)):
            rows = np.flatnonzero(names == name)
            if costs is None:
                allowed[rows[max(1, int(cap)) :]] = False
            else:
                allowed[rows] = _fits(price[rows], cap)
    spent = np.cumsum(np.where(allowed, price, 0))
    stop = int(np.searchsorted(spent, total, side="right"))
    over = order[:stop][~allowed[:stop]]
    reached = stop < len(order) or bool(len(spent) and spent[-1] == total)
    return Taken(order[:stop][allowed[:stop]], over, reached)


def _fits(price: Int[np.ndarray, "r"], cap: float) -> np.ndarray:
    """Which of a domain's examples fit under its cap, in order, each that would exceed it passed over."""
    fits, spent = np.zeros(len(price), dtype=bool), 0
    for row, cost in enumerate(price.tolist()):
        if spent + cost <= cap or spent == 0:
            fits[row], spent = True, spent + cost
    return fits
