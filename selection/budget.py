"""How much to keep: the one accounting that selections, random draws, mixtures and validations share.

`lengths` says what an example costs: tokens of a text (its end token included), 1 of an image. A budget is in that
unit: a fraction is a share of the pool's tokens, not of its documents. Only a `count` is of examples.

One rule says what a budget takes: examples in their order until the budget is reached, and the one that reaches it is
kept whole. So there is at least the budget and, without the last example, less than it; never nothing; and what is
trained on exactly the budget has enough of every such set. A cap is the same rule within one domain.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from thresher.errors import InputError

EPSILON = 1e-9
"""Shares of whole numbers are no whole numbers to the last bit."""


def num_to_keep(total: int, *, fraction: float | None = None, count: int | None = None) -> int:
    """How much of `total` to keep: a share in (0, 1], rounded but at least 1, or a count of examples.

    Raises InputError unless exactly one of them is given and can be met.
    """
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
    """How much to keep, by exactly one of a fraction, a count and a number of tokens. Raises InputError otherwise."""

    fraction: float | None = None
    """A share of the whole pool's tokens, also behind filters, so that equal fractions keep equally much."""
    count: int | None = None
    """A number of examples."""
    tokens: int | None = None
    per_domain: float | None = None
    """The share of the budget that one domain may have. When an example, kept whole, reaches it, the others of its
    domain are passed over."""

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
        """The budget in a pool of these lengths. Raises InputError if the pool has less."""
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
    """A budget in a pool."""

    total: int
    """How much is kept."""
    costs: Int[np.ndarray, "n"]
    """What each example of the pool costs of it."""
    per_domain: float | None = None
    """The share of the budget that one domain may have."""

    @property
    def unit(self) -> str:
        """What is counted: "examples" if each costs 1, else "tokens"."""
        return "examples" if (self.costs == 1).all() else "tokens"

    def within(self, positions: Int[np.ndarray, "m"], domains: np.ndarray) -> int:
        """How much of the budget `positions` fill in any order, each domain up to its cap at most."""
        if self.per_domain is None:
            return min(self.total, int(self.costs[positions].sum()))
        groups = np.unique(np.asarray(domains)[positions].astype(str), return_inverse=True)[1]
        supplies = np.bincount(groups, weights=self.costs[positions])
        return min(self.total, int(np.minimum(supplies, self.per_domain * self.total).sum() + EPSILON))

    def room(self, domains: np.ndarray) -> Callable[[int], bool]:
        """Asked of one position after the other, in the order of taking: has its domain room for it?"""
        spent: dict[str, int] = defaultdict(int)

        def takes(position: int) -> bool:
            if self.per_domain is None:
                return True
            domain = str(domains[position])
            is_open = spent[domain] < self.per_domain * self.total - EPSILON
            spent[domain] += int(self.costs[position]) if is_open else 0
            return is_open

        return takes

    def take(self, order: Int[np.ndarray, "m"], domains: np.ndarray) -> "Taken":
        """What the budget takes of `order`; see the function `take`."""
        return take(order, self.total, self.costs, domains, self.per_domain)


@dataclass(frozen=True)
class Taken:
    """What a budget takes of an order."""

    kept: Int[np.ndarray, "k"]
    """The positions that were taken, in their order."""
    over_cap: Int[np.ndarray, "c"]
    """The positions that were passed over because their domain had its share."""
    is_full: bool
    """Whether the budget was reached before the order ended."""


def take(
    order: Int[np.ndarray, "m"],
    total: int,
    costs: Int[np.ndarray, "n"],
    domains: np.ndarray | None = None,
    per_domain: float | None = None,
) -> Taken:
    """Take the positions of `order`, first to last, until what they cost reaches `total`.

    A position may stand in `order` more than once. `costs` and `domains` are those of the whole pool.
    """
    price = np.asarray(costs)[order].astype(np.int64)
    open_to = np.ones(len(order), dtype=bool)
    if per_domain is not None:
        assert domains is not None
        groups = np.unique(np.asarray(domains)[order].astype(str), return_inverse=True)[1]
        open_to = _before_in_group(price, groups) < per_domain * total - EPSILON
    paid = np.where(open_to, price, 0)
    is_within = _before(paid) < total
    return Taken(order[is_within & open_to], order[is_within & ~open_to], bool(paid.sum() >= total))


def _before(price: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
    return np.cumsum(price) - price


def _before_in_group(price: Int[np.ndarray, "m"], groups: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
    """For each, what those of the same group cost that stand before it."""
    rows = np.argsort(groups, kind="stable")
    before, ordered = _before(price[rows]), groups[rows]
    in_group = np.empty_like(before)
    in_group[rows] = before - before[np.searchsorted(ordered, ordered, side="left")]
    return in_group


def draw(
    members: Int[np.ndarray, "m"],
    total: int,
    lengths: Int[np.ndarray, "n"],
    shuffled: Callable[[int], Int[np.ndarray, "m"]],
) -> Int[np.ndarray, "k"]:
    """Draw positions of `members` that cost at least `total`, in the order of the draw.

    If the members hold less than `total`, the draw is whole passes and a part of one. `shuffled(turn)` gives the
    members in the order of a pass, anew for each pass.
    """
    supply = int(np.asarray(lengths)[members].sum())
    turns = max(1, -(-total // supply)) if supply else 1
    return take(np.concatenate([shuffled(turn) for turn in range(turns)]), total, lengths).kept


def realised(domains: np.ndarray, positions: Int[np.ndarray, "k"], lengths: Int[np.ndarray, "n"]) -> dict[str, float]:
    """The share of each domain in what `positions` cost, sorted by the domain's name."""
    names, groups = np.unique(np.asarray(domains)[positions].astype(str), return_inverse=True)
    sums = np.bincount(groups, weights=np.asarray(lengths)[positions])
    return dict(zip(names.tolist(), (sums / sums.sum()).tolist(), strict=True))
