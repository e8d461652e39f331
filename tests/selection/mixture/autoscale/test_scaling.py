"""AutoScale against its published answers; the runs are made from the published curves."""

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.selection.mixture.cases import TABLES, needs_tables
from thresher.errors import InputError
from thresher.selection.mixture.autoscale.scaling import Runs, fit_autoscale, project_exact, project_paper
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.goal import make_goal
from thresher.selection.mixture.optimiser import optimise

FITS = np.array(
    [
        (2.665873, 1.249202, 0.802654),
        (6.616176, 1.436001, 0.945822),
        (2.673602, 1.53626, 0.864521),
        (2.463107, 1.828731, 0.896852),
        (2.518384, 1.185872, 0.775039),
        (2.889958, 1.953628, 0.929617),
        (3.319174, 1.926671, 0.940325),
    ]
)
OPTIMUM = [1.624754, 0.2, 1.274152, 1.179796, 1.851900, 0.637164, 0.232236]
FIRST = np.array([1.55818971, 0.2, 1.1645966, 1.42333261, 1.49550525, 0.68184781, 0.47652801]) / 7 * 0.3e9
SECOND = np.array([1.63121445, 0.2, 1.30180479, 1.21425702, 1.83266187, 0.62006189, 0.2]) / 7 * 1.2e9
DOMAINS = ("common_crawl", "github", "books", "wiki", "c4", "stackexchange", "arxiv")


def published_runs(base: float = 28.0) -> Runs:
    a, b, c = FITS.T
    return Runs(base, base * ((0.2 + a) ** -b + c), base * ((3 + a) ** -b + c))


@pytest.fixture(scope="module")
def law():
    return fit_autoscale(published_runs())


def test_the_fit_passes_through_every_point_and_finds_the_published_curves(law):
    runs = published_runs()
    for amount, results in ((0.2, runs.cut), (3.0, runs.raised)):
        np.testing.assert_allclose(law.curves(np.full((1, 7), amount))[0], results / runs.base, atol=1e-9)
    # The published numbers are rounded to 6 digits, and three points fix three parameters: rounding is amplified.
    np.testing.assert_allclose(np.column_stack([law.a, law.b, law.c]), FITS, atol=2e-3)


def test_the_optimum_and_its_objective_are_the_published_ones(law):
    np.testing.assert_allclose(law.optimum(), OPTIMUM, atol=2e-4)
    assert law.objective(law.optimum()) == pytest.approx(6.942005, abs=1e-5)
    assert law.objective(np.ones(7)) == pytest.approx(7, abs=1e-5)


@pytest.mark.shared_data
@needs_tables
def test_the_released_runs_give_the_released_fits_and_optimum():
    rows = np.loadtxt(TABLES / "autoscale_ddo_gpt2large_1.2B_ppl.csv", delimiter=",", skiprows=1)
    law = fit_autoscale(Runs.in_order(rows[:, -1]))
    np.testing.assert_allclose(np.column_stack([law.a, law.b, law.c]), FITS, atol=1e-5)
    np.testing.assert_allclose(law.optimum(), OPTIMUM, atol=1e-5)
    assert law.objective(law.optimum()) == pytest.approx(6.942005, abs=1e-5)


def test_the_closed_optimum_is_that_of_a_general_solver_under_bounds(law):
    lower, upper = np.full(7, 0.3), np.full(7, 1.4)
    rule = {"type": "eq", "fun": lambda n: n.sum() - 7}
    bounds = list(zip(lower, upper, strict=True))
    peer = minimize(law.objective, np.ones(7), bounds=bounds, constraints=[rule], method="SLSQP", tol=1e-12)
    ours = law.optimum(lower=lower, upper=upper)
    assert ours.sum() == pytest.approx(7) and law.objective(ours) <= peer.fun + 1e-9
    np.testing.assert_allclose(ours, peer.x, atol=1e-3)


def test_the_shared_optimiser_finds_the_same_mixture(law):
    constraints = make_constraints(DOMAINS, floors=dict.fromkeys(DOMAINS, 0.2 / 7))
    found = optimise(law, make_goal(["relative perplexity"]), constraints)
    np.testing.assert_allclose(found.weights * 7, law.optimum(), atol=2e-3)
    assert found.objective == pytest.approx(1 + law.objective(law.optimum()) - law.objective(np.ones(7)), abs=1e-7)


@pytest.mark.parametrize(
    "budget, weights",
    [
        (3e9, [0.2346, 0.0279, 0.1953, 0.153, 0.2917, 0.0814, 0.016]),
        (10e9, [0.2324, 0.0266, 0.2044, 0.1278, 0.3296, 0.0717, 0.0074]),
    ],
)
def test_projected_weights_are_the_published_ones_to_their_digits(budget, weights):
    np.testing.assert_allclose(project_paper(FIRST, SECOND, budget).weights, weights, atol=5.1e-5)


def test_the_path_passes_through_both_budgets_and_near_the_one_held_out():
    for budget, amounts, t in ((0.3e9, FIRST, 0), (1.2e9, SECOND, 1)):
        projected = project_paper(FIRST, SECOND, budget)
        np.testing.assert_allclose(projected.amounts, amounts, rtol=1e-6)
        assert projected.t == pytest.approx(t, abs=1e-6)
    released = np.array([1.6537299, 0.2, 1.1988018, 1.27792191, 1.62120831, 0.7912898, 0.25704828]) / 7
    assert np.abs(project_paper(FIRST, SECOND, 0.6e9).weights - released).max() <= 0.0196


def test_exact_keeps_the_fitted_optimum_at_the_fitted_budget_and_grows_amounts_plus_offset_together(law):
    same = project_exact(law, 1.2e9, 1.2e9)
    np.testing.assert_allclose(same.weights, law.optimum() / 7, atol=1e-12)
    # With equal exponents, free domains keep the ratio of n + a whatever the budget.
    law_even = type(law)(law.a, np.full(7, 1.5), law.c)
    small, large = (law_even.optimum(total, lower=0.0) for total in (30.0, 90.0))
    np.testing.assert_allclose((large + law.a) / (small + law.a), (90 + law.a.sum()) / (30 + law.a.sum()), rtol=1e-9)


def test_a_domain_that_does_nothing_gets_its_floor_and_is_named_where_that_is_allowed():
    runs = published_runs()
    cut, raised = runs.cut.copy(), runs.raised.copy()
    cut[2], raised[2] = 0.99 * runs.base, 1.02 * runs.base
    law = fit_autoscale(Runs(runs.base, cut, raised), strict=False)
    assert law.missed == (2,)
    assert law.optimum()[2] == pytest.approx(0.2)
    others = np.arange(7) != 2
    np.testing.assert_allclose(law.a[others], fit_autoscale(runs).a[others])


def test_runs_that_no_curve_fits_are_refused_in_one_line():
    rising = Runs(10.0, np.array([11.0, 9.0]), np.array([9.5, 9.8]))
    with pytest.raises(InputError, match="domain 1: results") as error:
        fit_autoscale(rising)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="4 results given"):
        Runs.in_order(np.ones(4))
    with pytest.raises(InputError, match="leave no room"):
        fit_autoscale(published_runs()).optimum(lower=1.1)
