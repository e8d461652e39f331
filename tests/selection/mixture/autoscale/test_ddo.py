"""AutoScale on tables: the design found again, its known answers, constraints, repeats."""

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.selection.mixture.autoscale.ddo import find_ddo
from thresher.selection.mixture.autoscale.proposal import propose_autoscale
from thresher.selection.mixture.autoscale.scaling import DomainScaling
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.design import one_up_one_down
from thresher.selection.mixture.goal import make_goal
from thresher.selection.mixture.table import make_table

DOMAINS = ("books", "code", "web", "law")
TRUTH = DomainScaling(
    np.array([2.7, 6.6, 2.5, 3.3]), np.array([1.25, 1.44, 1.83, 1.93]), np.array([0.8, 0.9, 0.9, 0.9])
)
BASE = 3.2


def losses_at(amounts: np.ndarray) -> np.ndarray:
    """The mean result of AutoScale's model, relative to the base run, as a loss [n, 1]."""
    ones = TRUTH.curves(np.ones((1, 4)))
    return BASE * (1 + np.sum(TRUTH.curves(amounts) - ones, axis=1, keepdims=True))


def ddo_table(share: float = 1.0, digits: int = 6, order=None, noise: float = 0.0, repeats: int = 1):
    """Runs whose base gives every domain `share` of the unit."""
    amounts = np.repeat(one_up_one_down(4), repeats, axis=0)
    weights = (amounts / amounts.sum(axis=1, keepdims=True)).round(digits)
    losses = losses_at(amounts * share) + noise * np.random.default_rng(0).normal(size=(len(amounts), 1))
    order = np.arange(len(amounts)) if order is None else order
    return make_table(DOMAINS, ["qa"], weights[order], losses[order])


def true_optimum(total: float) -> np.ndarray:
    return TRUTH.optimum(total) / total


@pytest.mark.parametrize("digits", [3, 9])
def test_the_design_is_found_whatever_the_order_of_its_rows_and_among_other_runs(digits):
    order = np.random.default_rng(1).permutation(9)
    table = ddo_table(order=order, digits=digits)
    ddo = find_ddo(table)
    assert (ddo.low, ddo.high) == (1 / 5, 3.0) and not ddo.repeated
    np.testing.assert_allclose(ddo.results(table.losses)[:, 0], losses_at(one_up_one_down(4))[:, 0], rtol=1e-12)
    more = make_table(
        DOMAINS,
        ["qa"],
        np.vstack([table.weights, [[0.4, 0.3, 0.2, 0.1]]]),
        np.vstack([table.losses, [[9.0]]]),
    )
    assert find_ddo(more).cells == ddo.cells


def test_a_missing_run_a_missing_base_and_two_domains_are_refused():
    table = ddo_table()
    with pytest.raises(InputError, match="1 of 8 changed runs missing"):
        find_ddo(table.rows([0, 1, 2, 3, 4, 5, 6, 7]))
    with pytest.raises(InputError, match="no run of equal weights"):
        find_ddo(table.rows(range(1, 9)))
    two = make_table(["a", "b"], ["qa"], np.array([[0.5, 0.5], [0.2, 0.8], [0.8, 0.2]]), np.array([[1.0], [2], [3]]))
    with pytest.raises(InputError, match="of 2 domains"):
        find_ddo(two)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_exact_finds_the_true_optimum_at_the_budget_asked_for(ratio):
    table = ddo_table(digits=12)
    found = propose_autoscale(table, find_ddo(table), fitted_budget=1e9, budget=ratio * 1e9)
    np.testing.assert_allclose(list(found.weights.values()), true_optimum(4 * ratio), atol=1e-5)
    assert sum(found.amounts.values()) == pytest.approx(ratio * 1e9)
    expected = losses_at(true_optimum(4 * ratio)[None] * 4 * ratio)
    np.testing.assert_allclose(found.predicted_losses["qa"], expected[0, 0], rtol=1e-6)
    assert found.t == pytest.approx(np.log2(ratio)) and any("no interval" in text for text in found.warnings)


def test_extrapolation_beyond_two_is_said():
    table = ddo_table()
    text = " / ".join(propose_autoscale(table, find_ddo(table), fitted_budget=1.0, budget=5.0).warnings)
    assert "pure extrapolation" in text


def test_paper_goes_through_both_optima():
    small, large = ddo_table(digits=12), ddo_table(share=2.0, digits=12)
    second = (large, find_ddo(large), 2.0)
    at = {
        budget: propose_autoscale(
            small, find_ddo(small), fitted_budget=1.0, budget=budget, mode="paper", second=second, floor=0.05
        )
        for budget in (1.0, 2.0, 4.0)
    }
    assert [round(found.t, 6) for found in at.values()][:2] == [0, 1]
    np.testing.assert_allclose(list(at[1.0].weights.values()), TRUTH.optimum(4.0, lower=0.05) / 4, atol=1e-5)
    assert at[4.0].t > 1


def test_bounds_closeness_to_the_prior_and_the_worst_case_reach_autoscale():
    table = ddo_table()
    ddo = find_ddo(table)
    free = propose_autoscale(table, ddo).weights
    top = max(free, key=lambda name: free[name])
    capped = propose_autoscale(table, ddo, constraints=make_constraints(DOMAINS, ceilings={top: 0.3}))
    assert capped.weights[top] == pytest.approx(0.3) and sum(capped.weights.values()) == pytest.approx(1)
    assert any(f"{top} (ceiling 0.3)" in text for text in capped.warnings)
    near = propose_autoscale(table, ddo, constraints=make_constraints(DOMAINS, kl_weight=300.0))
    np.testing.assert_allclose(list(near.weights.values()), 0.25, atol=5e-3)
    two = make_table(
        DOMAINS, ["qa", "other"], table.weights, np.column_stack([table.losses, table.losses[::-1] ** 0.5])
    )
    worst = propose_autoscale(two, find_ddo(two), goal=make_goal(["qa", "other"], worst_case=True))
    assert sum(worst.weights.values()) == pytest.approx(1) and set(worst.predicted_losses) == {"qa", "other"}
    with pytest.raises(InputError, match="least amount"):
        propose_autoscale(table, ddo, constraints=make_constraints(DOMAINS, ceilings={"law": 0.01}))


def test_the_best_observed_run_of_a_worst_case_is_the_one_of_least_excess_over_natural():
    table = ddo_table()
    # A second target of a high level, which the same domains help: by its level alone it would decide.
    lifted = 50 - 0.05 * table.losses
    two = make_table(DOMAINS, ["qa", "other"], table.weights, np.column_stack([table.losses, lifted]))
    goal = make_goal(["qa", "other"], worst_case=True)
    for budget in (1.0, 8.0):
        found = propose_autoscale(two, find_ddo(two), budget=budget, goal=goal)
        excess = (two.losses - two.losses[0]).max(axis=1)  # natural is uniform, the base run
        expected = two.weights[np.argmin(excess)]
        np.testing.assert_allclose(list(found.baselines["best observed"].values()), expected)


@pytest.mark.slow
def test_repeated_runs_give_intervals_that_hold_the_optimum():
    table = ddo_table(repeats=6, noise=0.01)
    ddo = find_ddo(table)
    assert ddo.repeated
    found = propose_autoscale(table, ddo, num_resamples=60)
    assert not any("no interval" in text for text in found.warnings)
    for name, truth in zip(DOMAINS, true_optimum(4.0), strict=True):
        low, high = found.weight_intervals[name]
        assert low <= found.weights[name] + 1e-9 and high >= found.weights[name] - 1e-9
        assert low - 0.05 <= truth <= high + 0.05


def test_mode_and_budgets_are_checked():
    table = ddo_table()
    with pytest.raises(InputError, match="mode paper needs"):
        propose_autoscale(table, find_ddo(table), mode="paper")
    with pytest.raises(InputError, match="must be above 0"):
        propose_autoscale(table, find_ddo(table), budget=-1.0)


def test_a_second_table_is_read_by_the_names_of_its_targets():
    small, large = ddo_table(), ddo_table(share=2.0)
    other = np.random.default_rng(0).permutation(small.losses)

    def proposed(targets):
        columns = {"qa": large.losses, "other": other}
        second = make_table(DOMAINS, targets, large.weights, np.column_stack([columns[name] for name in targets]))
        first = make_table(DOMAINS, ["qa", "other"], small.weights, np.column_stack([small.losses, other]))
        goal = make_goal(["qa", "other"], {"qa": 1.0})
        pair = (second, find_ddo(second), 2.0)
        return propose_autoscale(first, find_ddo(first), budget=4.0, mode="paper", second=pair, goal=goal).weights

    assert proposed(["qa", "other"]) == proposed(["other", "qa"])
    with pytest.raises(InputError, match="no target is called 'other'"):
        proposed(["qa"])
