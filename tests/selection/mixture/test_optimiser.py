"""The optimiser and its constraints against grids of all mixtures and general solvers."""

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.selection.mixture.cases import DOMAINS, made_runs, simplex_grid
from thresher.errors import InputError
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.goal import Goal, make_goal
from thresher.selection.mixture.laws.law import Law
from thresher.selection.mixture.laws.linear import LinearLaw, fit_loglinear
from thresher.selection.mixture.methods import METHODS
from thresher.selection.mixture.optimiser import objective, optimise, sample_mixtures

THREE = ("a", "b", "c")


class Bowl(Law):
    """Two targets, each the squared distance to its own favourite mixture."""

    favourites = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    num_parameters = 3

    def predict(self, weights):
        return np.sum((weights[:, None] - self.favourites) ** 2, axis=2)

    def deviation(self, weights):
        return np.zeros((len(weights), 2))

    def gradient(self, weights):
        return 2 * (weights[:, None] - self.favourites)

    def refit(self, weights, losses):
        return self


def limits(**options):
    return make_constraints(THREE, **options)


CASES = {
    "free": {},
    "box": {"floors": {"c": 0.25}, "ceilings": {"a": 0.3}},
    "supply": {"tokens": {"a": 1e6, "b": 9e6, "c": 2e6}, "budget": 5e6, "max_repeats": {"a": 2, "c": 1}},
    "penalty": {"prior": {"a": 1, "b": 6, "c": 3}, "kl_weight": 0.3},
    "near": {"prior": {"a": 1, "b": 6, "c": 3}, "max_kl": 0.1},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("goal", [Goal(np.array([0.8, 0.2])), Goal(np.array([0.5, 0.5]), worst_case=True)])
def test_no_mixture_of_a_fine_grid_is_better(case, goal):
    constraints = limits(**CASES[case])
    best = optimise(Bowl(), goal, constraints)
    grid = simplex_grid(120)
    inside = np.all((grid >= constraints.lower - 1e-12) & (grid <= constraints.upper + 1e-12), axis=1)
    if constraints.max_kl is not None:
        inside &= constraints.kl(grid) <= constraints.max_kl
    values = objective(Bowl(), goal, constraints, grid[inside])
    assert inside.sum() > 50
    assert values.min() - 5e-3 <= best.objective <= values.min() + 1e-9
    np.testing.assert_allclose(best.weights, grid[inside][values.argmin()], atol=0.03)


def test_every_method_stays_inside_and_beats_every_sampled_mixture():
    weights, losses = made_runs(60, noise=0.02)
    constraints = make_constraints(DOMAINS, floors={"law": 0.1}, ceilings={"books": 0.4}, kl_weight=0.02, max_kl=0.5)
    pool = sample_mixtures(constraints, 500, seed=9)
    for name, method in METHODS.items():
        law = method.fit(weights, losses, 0)
        goal = Goal(np.full(law.predict(pool).shape[1], 1.0) / law.predict(pool).shape[1])
        best = optimise(law, goal, constraints)
        assert best.weights.sum() == pytest.approx(1)
        assert np.all(best.weights >= constraints.lower - 1e-9) and np.all(best.weights <= constraints.upper + 1e-9)
        assert constraints.kl(best.weights[None])[0] <= 0.5 + 1e-6
        worse = objective(law, goal, constraints, pool)
        # The mean of the best 128 need not be the best of them, but it is near.
        share = 0.0 if law.smooth else 0.05
        assert np.mean(worse < best.objective - 1e-9) <= share, name


def test_log_linear_with_a_prior_meets_the_optimality_conditions():
    weights, losses = made_runs(50, noise=0.02)
    law, goal = fit_loglinear(weights, losses), make_goal(("qa", "proofs"), {"qa": 3, "proofs": 1})
    constraints = make_constraints(DOMAINS, prior={"books": 1, "code": 2, "web": 4, "law": 1}, kl_weight=0.4)
    x = optimise(law, goal, constraints).weights
    slope = goal.weights @ law.gradient(x[None])[0] + 0.4 * (np.log(x / constraints.prior) + 1)
    np.testing.assert_allclose(slope, slope.mean(), atol=2e-3)


def test_projection_is_the_nearest_feasible_mixture():
    constraints = limits(floors={"b": 0.2}, ceilings={"a": 0.5})
    points = np.random.default_rng(1).normal(size=(7, 3))
    rule = {"type": "eq", "fun": lambda x: x.sum() - 1}
    bounds = list(zip(constraints.lower, constraints.upper, strict=True))
    for point, projected in zip(points, constraints.project(points), strict=True):
        peer = minimize(
            lambda x, p=point: np.sum((x - p) ** 2), constraints.prior, bounds=bounds, constraints=[rule], tol=1e-12
        )
        np.testing.assert_allclose(projected, peer.x, atol=1e-4)


def test_the_mixture_closest_to_the_prior_is_that_of_a_general_solver():
    constraints = limits(floors={"b": 0.5}, ceilings={"c": 0.1}, prior={"a": 2, "b": 3, "c": 5})
    grid = simplex_grid(200)
    inside = grid[(grid[:, 1] >= 0.5) & (grid[:, 2] <= 0.1)]
    ours = constraints.closest_to_prior()
    assert constraints.kl(ours[None])[0] <= constraints.kl(inside).min() + 1e-9
    np.testing.assert_allclose(ours, inside[constraints.kl(inside).argmin()], atol=0.01)


def test_the_kl_gradient_is_the_finite_difference():
    constraints = limits(prior={"a": 2, "b": 3, "c": 5})
    x, step = np.array([[0.2, 0.5, 0.3]]), 1e-6
    for d in range(3):
        up, down = x.copy(), x.copy()
        up[0, d] += step
        down[0, d] -= step
        slope = (constraints.kl(up) - constraints.kl(down)) / (2 * step)
        np.testing.assert_allclose(constraints.kl_gradient(x)[:, d], slope, rtol=1e-6)


def test_supply_and_repeats_cap_the_share_of_the_budget():
    constraints = limits(tokens={"a": 1e6, "b": 9e6, "c": 2e6}, budget=8e6, max_repeats=4)
    np.testing.assert_allclose(constraints.upper, [0.5, 1, 1])
    np.testing.assert_allclose(constraints.prior, np.array([1, 9, 2]) / 12)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"floors": {"a": 0.6, "b": 0.6}}, "floors sum to 1.2"),
        ({"ceilings": {"a": 0.2, "b": 0.2, "c": 0.2}}, "ceilings sum to 0.6"),
        ({"floors": {"a": 0.5}, "ceilings": {"a": 0.4}}, "'a' must be at least 0.5 and at most 0.4"),
        ({"tokens": {"a": 1, "b": 1, "c": 1}, "budget": 10}, "allow more repeats"),
        ({"tokens": {"a": 1}, "budget": 10}, "no token count for domain 'b'"),
        ({"budget": 10}, "give tokens"),
        ({"floors": {"z": 0.1}}, "floors name 'z'"),
        ({"floors": {"a": 1.5}}, "1.5 is not a share"),
        ({"floors": {"a": float("nan")}}, "not a finite number"),
        ({"prior": {"a": 1}, "floors": {"b": 0.9}, "max_kl": 0.1}, "raise max_kl"),
        ({"kl_weight": -1}, "below 0"),
        ({"kl_weight": float("inf")}, "or infinite"),
        ({"max_kl": float("nan")}, "limit nan"),
        ({"tokens": {"a": 9, "b": 9, "c": 9}, "budget": 10, "max_repeats": float("nan")}, "repeats above 0"),
    ],
)
def test_constraints_that_nothing_meets_are_refused_in_one_line(options, words):
    with pytest.raises(InputError, match=words) as error:
        limits(**options)
    assert "\n" not in str(error.value)


def test_unknown_targets_and_weights_without_sense_are_refused():
    with pytest.raises(InputError, match="no target is called 'x'"):
        make_goal(("qa",), {"x": 1})
    with pytest.raises(InputError, match="one above 0"):
        make_goal(("qa", "b"), {"qa": 0})


def test_the_linear_law_goes_to_the_best_corner_the_box_leaves():
    weights, losses = made_runs(40)
    law = LinearLaw(weights, losses[:, :1])
    constraints = make_constraints(DOMAINS, ceilings=dict.fromkeys(DOMAINS, 0.6))
    order = np.argsort(law.slope[0])
    corner = np.zeros(4)
    corner[order[:2]] = [0.6, 0.4]
    np.testing.assert_allclose(optimise(law, Goal(np.ones(1)), constraints).weights, corner, atol=1e-6)
