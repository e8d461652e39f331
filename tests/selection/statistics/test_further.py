"""Which runs would decide: the cheapest of what is tried, both ways, with what they cost."""

import pytest

from thresher.intervals import Interval
from thresher.selection.statistics.decisions import judge
from thresher.selection.statistics.further import Costs, Evidence, that_fail, that_hold
from thresher.selection.statistics.power import recipes_needed
from thresher.selection.statistics.signal import Signal
from thresher.selection.statistics.verdict import Criterion, verdict

NOISY = Signal(0.3, 0.1, "seeds", 2, own_share=0.8, error=0.1)
CLEAR = Signal(0.3, 0.001, "seeds", 2, own_share=0.9999, error=0.001)


def plans(found, sides, *, num_recipes=60, costs=None, seeds=2):
    evidence = Evidence(num_recipes=num_recipes, num_seeds=seeds, num_reference_seeds=seeds, signals={"a": sides})
    return that_hold("1M", "decision_accuracy", 0.9, found, {"a": found.value}, evidence, costs)


def test_a_value_at_the_threshold_is_decided_by_nothing():
    proxy = {"a": [1.0, 2.0, 3.0, 4.0, 5.0]}
    swapped = {"a": [1.0, 2.0, 3.0, 5.0, 4.0]}
    found = verdict({"1M": judge(proxy, swapped)}, {"1M": Evidence(num_recipes=5)}, Criterion(threshold=0.9))
    assert found.further == () and "No further recipes or seeds would decide at this value" in found.sentence()


def test_only_seeds_whose_noise_is_known_are_proposed_and_the_side_that_is_noisy_gets_them():
    found = Interval(0.86, 0.8, 0.9)
    assert plans(found, (None, None)) == []
    proxy, *_ = plans(found, (NOISY, None))
    assert proxy.reference_seeds == 2 and proxy.proxy_seeds > 2
    reference, *_ = plans(found, (CLEAR, NOISY))
    assert reference.proxy_seeds == 2 and reference.reference_seeds > 2


def test_plans_are_in_order_of_what_they_cost_and_dear_references_are_spared():
    found, both = Interval(0.88, 0.82, 0.93), (NOISY, NOISY)
    cheap, dear = (
        plans(found, both, costs=Costs(reference="10M", amounts={"1M": small, "10M": 1.0})) for small in (0.01, 100.0)
    )
    for listed in (cheap, dear):
        assert [plan.cost for plan in listed] == sorted(plan.cost for plan in listed)
        for plan in listed:
            assert plan.proxy_runs == plan.num_recipes * plan.proxy_seeds - 120
            assert plan.reference_runs == plan.num_recipes * plan.reference_seeds - 120
    assert cheap[0].proxy_seeds > dear[0].proxy_seeds and cheap[0].reference_seeds < dear[0].reference_seeds


def test_few_recipes_with_noise_need_both_and_no_fewer_than_could_hold_at_all():
    found = plans(Interval(0.87, 0.7, 0.95), (NOISY, NOISY), num_recipes=12)
    (plan,) = found
    assert plan.more_recipes and plan.more_seeds and plan.num_recipes >= recipes_needed("decision_accuracy", 0.9)
    words = plan.words("arms")
    assert words.startswith(f"{plan.num_recipes} arms with {plan.proxy_seeds} seeds of each at 1M and ")
    assert f"more runs: {plan.proxy_runs:,} at 1M, {plan.reference_runs:,} at the reference)" in words


def test_all_that_are_open_have_to_fail_together():
    low, near = Interval(0.7, 0.5, 0.91), Interval(0.85, 0.7, 0.95)
    evidence = dict.fromkeys(("1M", "3M"), Evidence(num_recipes=10))
    costs = Costs(reference="10M", amounts={"1M": 0.1, "3M": 0.3, "10M": 1.0})
    both = that_fail("decision_accuracy", 0.9, {"1M": low, "3M": near}, evidence, costs)
    one = that_fail("decision_accuracy", 0.9, {"1M": low}, evidence, costs)
    assert both.sizes == ("1M", "3M") and both.num_recipes == 40 and one.num_recipes < 40
    assert both.cost == pytest.approx(30 * 1.4) and not both.holds
    above = that_fail("decision_accuracy", 0.9, {"1M": low, "3M": Interval(0.95, 0.8, 1.0)}, evidence, costs)
    assert above is None and that_fail("decision_accuracy", 0.9, {}, evidence, costs) is None


def test_costs_are_known_where_both_sizes_are():
    costs = Costs(reference="10M", amounts={"10M": 2.0, "1M": 1.0})
    assert costs.relative("1M") == 0.5 and costs.relative("3M") is None
    assert Costs(reference="10M", amounts={"1M": 1.0}).relative("1M") is None
