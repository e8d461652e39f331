"""The accounting: what a budget takes of documents of any lengths, counted by hand and by a loop."""

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.selection.budget import Budget, draw, realised, take


def by_hand(order, total, costs, domains=None, per_domain=None):
    """The rule, one example at a time."""
    kept, over, spent, of_domain = [], [], 0, {}
    for position in order:
        if spent >= total:
            break
        name = None if domains is None else domains[position]
        if per_domain is not None and of_domain.get(name, 0) >= per_domain * total - 1e-9:
            over.append(position)
            continue
        kept.append(position)
        spent += costs[position]
        of_domain[name] = of_domain.get(name, 0) + costs[position]
    return kept, over, spent >= total


def lengths_of(rng, n):
    """A few tokens, or thousands: the lengths that documents have."""
    return np.maximum(1, rng.lognormal(3, rng.choice([0.0, 1.0, 2.5]), n).astype(np.int64))


@pytest.mark.parametrize("seed", range(40))
def test_a_budget_takes_what_a_loop_over_the_ranking_takes(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    costs, order = lengths_of(rng, n), rng.permutation(n)
    domains = rng.choice(list("abcdefgh")[: rng.integers(1, 9)], n)
    total = int(rng.integers(1, costs.sum() + 2))
    for cap in (None, 0.1, 0.4, 1.0):
        found = take(order, total, costs, domains, cap)
        kept, over, is_full = by_hand(order.tolist(), total, costs.tolist(), domains.tolist(), cap)
        assert (found.kept.tolist(), found.over_cap.tolist(), found.is_full) == (kept, over, is_full)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_taken_holds_the_budget_and_without_its_last_example_less(seed):
    rng = np.random.default_rng(seed)
    costs = lengths_of(rng, 50)
    for fraction in (0.001, 0.2, 0.77, 1.0):
        amount = Budget(fraction=fraction).of(costs)
        kept = amount.take(rng.permutation(50), np.full(50, "")).kept
        assert costs[kept[:-1]].sum() < amount.total <= costs[kept].sum()
        assert amount.total == max(1, round(fraction * costs.sum()))


def test_a_document_larger_than_the_budget_is_kept_alone_and_whole():
    found = take(np.array([2, 0, 1]), 30, np.array([10, 10, 5000]))
    assert found.kept.tolist() == [2] and found.is_full


@pytest.mark.parametrize("seed", range(20))
def test_what_is_sure_to_be_reached_is_reached_in_every_order(seed):
    rng = np.random.default_rng(seed)
    costs, domains = lengths_of(rng, 30), rng.choice(list("abc"), 30)
    amount = Budget(fraction=0.5, per_domain=float(rng.uniform(0.1, 0.9))).of(costs)
    if amount.within(np.arange(30), domains) < amount.total:
        return
    for _ in range(10):
        assert amount.take(rng.permutation(30), domains).is_full


def test_two_domains_at_half_each_fill_any_budget():
    costs = np.array([7, 1, 30, 2, 9, 4])
    domains = np.array(["a", "b"])[[0, 0, 0, 1, 1, 1]]
    amount = Budget(tokens=15, per_domain=0.5).of(costs)
    assert amount.within(np.arange(6), domains) == 15
    # a is closed at 8 of its 7.5, b takes what is left: 2 + 9 reach it.
    assert amount.take(np.arange(6), domains).kept.tolist() == [0, 1, 3, 4]


def test_a_pool_of_many_tiny_domains_is_taken_in_the_order_of_the_ranking():
    rng = np.random.default_rng(0)
    costs = rng.integers(2, 9, 20_000)
    domains = np.array([f"site {row % 9000}" for row in range(20_000)])
    order = rng.permutation(20_000)
    found = take(order, 40_000, costs, domains, 1e-4)
    kept, over, _ = by_hand(order.tolist(), 40_000, costs.tolist(), domains.tolist(), 1e-4)
    assert (found.kept.tolist(), found.over_cap.tolist()) == (kept, over) and over


def test_a_draw_goes_through_all_before_it_repeats_one():
    lengths = np.array([5, 3, 8, 100])
    members = np.array([0, 1, 2])

    def shuffled(turn):
        return np.roll(members, turn)

    assert draw(members, 16, lengths, shuffled).tolist() == [0, 1, 2]
    assert draw(members, 17, lengths, shuffled).tolist() == [0, 1, 2, 2]
    assert lengths[draw(members, 40, lengths, shuffled)].sum() >= 40


def test_shares_are_of_tokens():
    shares = realised(np.array(["a", "b", "b"]), np.array([0, 2, 2]), np.array([10, 7, 45]))
    assert shares == {"a": 0.1, "b": 0.9}


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"tokens": 41}, "41 tokens asked for, but the pool has 40; pass at most 40"),
        ({"count": 5}, "5 examples asked for, but the pool has 4"),
        ({"fraction": 1.2}, "fraction 1.2 is outside"),
        ({"fraction": 0.5, "tokens": 3}, "pass exactly one of them"),
    ],
)
def test_a_budget_that_the_pool_does_not_hold_is_refused(budget, message):
    with pytest.raises(InputError, match=message):
        Budget(**budget).of(np.array([10, 10, 10, 10]))
