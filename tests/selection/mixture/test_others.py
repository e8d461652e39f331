"""Methods that are not fitted to tables of mixtures: DoReMi, portfolios, scores by domain, baselines."""

import numpy as np
import pytest
from scipy.stats import t

from tests.selection.mixture.cases import made_runs, simplex_grid
from thresher.errors import InputError
from thresher.selection.mixture import baselines, doremi
from thresher.selection.mixture.constraints import Constraints, make_constraints
from thresher.selection.mixture.domain_dsdm import Usefulness, fit_domain_dsdm, sum_by_domain
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws.portfolio import Portfolio, fit_utilimax, utilities
from thresher.selection.mixture.optimiser import optimise

ONE = Goal(np.ones(1))


def tilt(law: Usefulness, constraints: Constraints) -> np.ndarray:
    """The optimum without bounds, in closed form: prior * exp(usefulness / kl_weight), normalised."""
    weights = constraints.prior * np.exp(-law.slope.mean(axis=0) / constraints.kl_weight)
    return weights / weights.sum()


def test_doremi_follows_its_update_step_by_step():
    excess = np.random.default_rng(0).normal(size=(9, 3))
    state, w = doremi.begin(3, eta=0.7, smoothing=0.01), np.full(3, 1 / 3)
    for row in excess:
        w = w * np.exp(0.7 * np.maximum(row, 0))
        w = 0.99 * w / w.sum() + 0.01 / 3
        state = state.step(row)
        np.testing.assert_allclose(state.weights, w)


def test_a_summary_of_paths_is_their_mean_over_steps_and_runs():
    paths = [np.array([[0.2, 0.8], [0.4, 0.6]]), np.array([[0.5, 0.5], [0.5, 0.5]])]
    result = doremi.summarise(["a", "b"], paths, natural=np.array([0.5, 0.5]))
    assert result["weights"] == pytest.approx({"a": 0.4, "b": 0.6}) and result["num_runs"] == 2
    half = t.ppf(0.975, 1) * 0.1  # two means 0.2 apart: standard error 0.1
    assert result["weight_intervals"]["a"] == pytest.approx((0.0, min(0.4 + half, 1.0)))


def test_doremi_clips_each_token_before_the_mean_of_its_domain():
    losses, reference = np.array([3.0, 1.0, 2.0, 5.0]), np.array([2.0, 4.0, 1.5, 5.0])
    np.testing.assert_allclose(
        doremi.mean_excess(losses, reference, np.array([0, 0, 2, 2]), 4), [(1 + 0) / 2, 0, (0.5 + 0) / 2, 0]
    )


def test_doremi_stays_finite_and_above_its_smoothing_under_huge_excess():
    state = doremi.begin(2)
    for _ in range(50):
        state = state.step(np.array([1e4, 0.0]))
    np.testing.assert_allclose(state.weights, [1 - 5e-4, 5e-4])
    with pytest.raises(InputError, match="finite"):
        state.step(np.array([np.nan, 0]))
    with pytest.raises(InputError, match="smoothing 0"):
        doremi.begin(2, smoothing=0)


def test_a_portfolio_is_the_best_of_a_grid_and_more_risk_aversion_spreads_it():
    utility = np.array([[3.0, 1.0, 2.5, 0.0], [1.0, 1.2, 0.9, 1.1], [-1.0, 2.0, -2.0, 0.5]])
    best = {}
    for risk in (0.1, 5.0):
        law = Portfolio(utility, risk)
        best[risk] = optimise(law, ONE, make_constraints(("a", "b", "c"))).weights
        assert law.predict(best[risk][None])[0, 0] <= law.predict(simplex_grid(100)).min() + 1e-9
    assert best[5.0].max() < best[0.1].max()


def test_utilities_are_what_a_domain_lowers_a_loss_by():
    weights, _ = made_runs(30)
    effect = np.array([[0.5, -1.0], [0.2, 0.4], [0.0, 0.1], [-0.7, 0.5]])
    found = utilities(weights, 3 - weights @ effect)
    np.testing.assert_allclose(found - found.mean(axis=0), effect - effect.mean(axis=0), atol=1e-9)
    rescaled = fit_utilimax(weights, (3 - weights @ effect) * [1, 1000.0])
    np.testing.assert_allclose(rescaled.mean, fit_utilimax(weights, 3 - weights @ effect).mean)


def test_scores_sum_by_domain_and_tilt_the_prior():
    domains = ("books", "code", "web")
    scores, lengths = np.array([1.0, 2.0, -1.0, 6.0, 0.5]), np.array([10, 10, 5, 30, 10])
    summed, tokens = sum_by_domain(scores, ["code", "books", "web", "books", "code"], lengths, domains)
    np.testing.assert_array_equal(summed, [8, 1.5, -1])
    np.testing.assert_array_equal(tokens, [40, 20, 5])
    law = fit_domain_dsdm(summed, tokens)
    limits = make_constraints(domains, tokens=dict(zip(domains, tokens, strict=True)), kl_weight=0.8)
    closed = tilt(law, limits)
    assert closed[0] > limits.prior[0] and closed[2] < limits.prior[2]
    np.testing.assert_allclose(optimise(law, ONE, limits).weights, closed, atol=1e-4)
    with pytest.raises(InputError, match="'law', which is not in the mixture"):
        sum_by_domain(scores, ["law"] * 5, lengths, domains)


def test_scores_of_another_unit_give_the_same_mixture():
    tokens, summed = np.array([4.0, 2.0, 8.0]), np.array([3.0, -1.0, 2.0])
    limits = make_constraints(("a", "b", "c"), kl_weight=1.0)
    here, there = (optimise(fit_domain_dsdm(scale * summed, tokens), ONE, limits).weights for scale in (1, 1e6))
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_baselines_are_what_their_names_say():
    np.testing.assert_allclose(baselines.uniform(4), 0.25)
    np.testing.assert_allclose(baselines.natural(("b", "a"), {"a": 3, "b": 1}), [0.25, 0.75])
    weights, losses = made_runs(12)
    best = baselines.best_observed(weights, losses, Goal(np.array([0.0, 1.0])))
    np.testing.assert_array_equal(best, weights[losses[:, 1].argmin()])
    with pytest.raises(InputError, match="no token count for domain 'b'"):
        baselines.natural(("a", "b"), {"a": 1})
