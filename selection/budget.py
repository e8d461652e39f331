"""How much to keep: the one accounting that selections, random draws, recipes, mixtures and validations share.

What an example costs stands in `lengths`: tokens of a text (its end token included), 1 of an image. A budget is in that
unit: a fraction is a share of the pool's tokens, not of its documents. Only a `count` is of examples.

One rule says what a budget takes: examples in their order until the budget is reached, and the one that reaches it is
kept whole. So there is at least the budget and, without the last example, less than it; never nothing; and what is
trained on exactly the budget has enough of every such set. A cap is the same rule within one domain.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from thresher.errors import InputError

EPSILON = 1e-9
"""Shares of whole numbers are no whole numbers to the last bit."""


def num_to_keep(total: int, *, fraction: float | None = None, count: int | None = None) -> int:
    """How much of `total`, from a share in (0, 1] (rounded, at least 1) or a count of examples; exactly one of them."""
    if total < 1:
        raise InputError("the pool is empty; give a pool with at least one example")
    if (fraction is None) == (count is None):
        raise InputError(f"fraction={fraction} and count={count} given; pass exactly one of them")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise InputError(f"fraction {fraction} is outside (0, 1]; pass the share of the pool to keep, such as 0.2")
        return max(1, round(fraction * total))
    assert count is not None
    if not 1 <= count <= total:
        raise InputError(f"{count} examples asked for, but the pool has {total}; pass a count from 1 to {total}")
    return count


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Exactly one of three. A fraction is of the whole pool's tokens, also behind filters, so that selections with the
    same fraction have the same size.

    `per_domain` caps the share of the budget that one domain may have: when a domain has reached it, by an example that
    is kept whole, its others are passed over.
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

    def of(self, lengths: Int[np.ndarray, "n"]) -> "Amount":
        """In a pool of such lengths. Raises InputError when the pool has less."""
        costs = np.asarray(lengths, dtype=np.int64)
        if self.count is not None:
            return Amount(num_to_keep(len(costs), count=self.count), np.ones_like(costs), self.per_domain)
        supply = int(costs.sum())
        if self.fraction is not None:
            return Amount(num_to_keep(supply, fraction=self.fraction), costs, self.per_domain)
        assert self.tokens is not None
        if self.tokens > supply:
            raise InputError(f"{self.tokens} tokens asked for, but the pool has {supply}; pass at most {supply}")
        return Amount(self.tokens, costs, self.per_domain)


@dataclass(frozen=True)
class Amount:
    """A budget in a pool: how much, and what each example costs of it."""

    total: int
    costs: Int[np.ndarray, "n"]
    per_domain: float | None = None

    @property
    def unit(self) -> str:
        return "examples" if (self.costs == 1).all() else "tokens"

    def within(self, positions: Int[np.ndarray, "m"], domains: np.ndarray) -> int:
        """How much of the budget `positions` are sure to fill in whatever order, each domain to its cap at most."""
        if self.per_domain is None:
            return min(self.total, int(self.costs[positions].sum()))
        groups = np.unique(np.asarray(domains)[positions].astype(str), return_inverse=True)[1]
        supplies = np.bincount(groups, weights=self.costs[positions])
        return min(self.total, int(np.minimum(supplies, self.per_domain * self.total).sum() + EPSILON))

    def take(self, order: Int[np.ndarray, "m"], domains: np.ndarray) -> "Taken":
        return take(order, self.total, self.costs, domains, self.per_domain)


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
    costs: Int[np.ndarray, "n"],
    domains: np.ndarray | None = None,
    per_domain: float | None = None,
) -> Taken:
    """The positions of `order`, first to last, until what they cost reaches `total`; a position may stand there twice.

    `costs` [n] and `domains` [n] are of the whole pool.
    """
    price = np.asarray(costs)[order].astype(np.int64)
    open_to = np.ones(len(order), dtype=bool)
    if per_domain is not None:
        assert domains is not None
        groups = np.unique(np.asarray(domains)[order].astype(str), return_inverse=True)[1]
        open_to = _before_in_group(price, groups) < per_domain * total - EPSILON
    paid = np.where(open_to, price, 0)
    wanted = _before(paid) < total
    return Taken(order[wanted & open_to], order[wanted & ~open_to], bool(paid.sum() >= total))


def _before(price: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
    return np.cumsum(price) - price


def _before_in_group(price: Int[np.ndarray, "m"], groups: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
    """What those of the same group cost that stand before each."""
    rows = np.argsort(groups, kind="stable")
    before, ordered = _before(price[rows]), groups[rows]
    found = np.empty_like(before)
    found[rows] = before - before[np.searchsorted(ordered, ordered, side="left")]
    return found


def draw(
    members: Int[np.ndarray, "m"],
    total: int,
    lengths: Int[np.ndarray, "n"],
    shuffled: Callable[[int], Int[np.ndarray, "m"]],
) -> Int[np.ndarray, "k"]:
    """At least `total` of `members`, drawn at random: part of a pass, or whole passes and a part where they hold less.

    `shuffled(turn)` gives the members in the order of a pass, anew for each. Returns positions in the order drawn.
    """
    supply = int(np.asarray(lengths)[members].sum())
    turns = max(1, -(-total // supply)) if supply else 1
    return take(np.concatenate([shuffled(turn) for turn in range(turns)]), total, lengths).kept


def realised(domains: np.ndarray, positions: Int[np.ndarray, "k"], lengths: Int[np.ndarray, "n"]) -> dict[str, float]:
    """The share of each domain in what `positions` cost, sorted by name."""
    names, groups = np.unique(np.asarray(domains)[positions].astype(str), return_inverse=True)
    sums = np.bincount(groups, weights=np.asarray(lengths)[positions])
    return dict(zip(names.tolist(), (sums / sums.sum()).tolist(), strict=True))
