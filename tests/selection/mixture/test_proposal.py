"""Proposals: how sure they are, and that they say so."""

import json

import numpy as np
import pytest

from tests.selection.mixture.cases import DOMAINS, TARGETS, made_runs, true_losses
from thresher.errors import InputError
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.goal import make_goal
from thresher.selection.mixture.laws import curves
from thresher.selection.mixture.laws.exponential import fit_exponential
from thresher.selection.mixture.laws.linear import LinearLaw
from thresher.selection.mixture.methods import METHODS, method_named
from thresher.selection.mixture.optimiser import optimise
from thresher.selection.mixture.proposal import propose
from thresher.selection.mixture.table import make_table
from thresher.selection.mixture.uncertainty import bootstrap, hold_out

NATURAL = np.array([0.1, 0.2, 0.6, 0.1])


def table(num_runs=45, noise=0.03, seed=3):
    return make_table(DOMAINS, TARGETS, *made_runs(num_runs, noise, seed))


@pytest.fixture(scope="module")
def proposal():
    return propose(table(), method="exponential", natural=NATURAL, num_resamples=40, seed=1)


def test_a_proposal_is_whole_and_json(proposal):
    read = json.loads(json.dumps(proposal.to_json()))
    assert sum(read["weights"].values()) == pytest.approx(1)
    assert list(read["weights"]) == list(DOMAINS) and list(read["predicted_losses"]) == list(TARGETS)
    assert set(read["baselines"]) == set(read["gains"]) == {"natural", "uniform", "best observed"}
    assert read["num_runs"] == 45 and read["num_resamples"] == 40 and read["num_folds"] == 10


def test_the_proposed_mixture_is_truly_better_than_natural_and_gain_intervals_hold_the_truth_as_often_as_they_say():
    goal, held = make_goal(TARGETS), []
    for seed in range(15):
        found = propose(table(seed=seed), method="exponential", natural=NATURAL, num_resamples=40, check=False)
        best = np.array(list(found.weights.values()))
        gain, truth = found.gains["natural"], np.diff(goal.value(true_losses(np.vstack([best, NATURAL]))))[0]
        assert gain["low"] > 0 and truth > 0
        held.append(gain["low"] <= truth <= gain["high"])
    assert np.mean(held) >= 0.8


def test_predictions_lie_in_their_intervals_and_the_best_mixture_in_its_set(proposal):
    for target, (low, high) in proposal.loss_intervals.items():
        assert low <= proposal.predicted_losses[target] <= high
    for domain, (low, high) in proposal.indistinguishable.items():
        assert low - 1e-9 <= proposal.weights[domain] <= high + 1e-9
    widths = [high - low for low, high in proposal.indistinguishable.values()]
    assert 0 < max(widths) < 0.5


def test_more_noise_widens_the_optimum_and_the_set_of_equals():
    calm, noisy = (
        propose(table(45, noise), method="exponential", num_resamples=30, check=False) for noise in (0.01, 0.3)
    )
    widths = [sum(high - low for low, high in p.weight_intervals.values()) for p in (calm, noisy)]
    assert widths[1] > 2 * widths[0]
    sets = [sum(high - low for low, high in p.indistinguishable.values()) for p in (calm, noisy)]
    assert sets[1] > 2 * sets[0]


def test_held_out_errors_are_those_of_refitting_without_each_run():
    runs = table(11)
    held = hold_out(METHODS["linear"].fit, runs)
    assert held.num_folds == 11
    for row in range(11):
        others = np.arange(11) != row
        law = LinearLaw(runs.weights[others], runs.losses[others])
        np.testing.assert_allclose(held.predictions[row], law.predict(runs.weights[row : row + 1])[0])
    np.testing.assert_allclose(held.rmse, np.sqrt(np.mean((held.predictions - runs.losses) ** 2, axis=0)))


def test_the_bootstrap_of_a_linear_law_has_the_spread_of_the_textbook():
    runs = table(80, 0.1)
    law = LinearLaw(runs.weights, runs.losses)
    constraints, goal = make_constraints(DOMAINS), make_goal(TARGETS)
    asked = np.array([[0.25, 0.25, 0.25, 0.25], [0.4, 0.2, 0.2, 0.2]])
    resampled = bootstrap(law, runs, goal, constraints, asked, num_resamples=300)
    assert resampled.optima.shape == (300, 4) and resampled.predictions.shape == (300, 2)
    # A law's own error without the run's: deviation^2 - residual variance.
    own = np.sqrt(law.deviation(asked[:1])[0] ** 2 - law._variance)
    np.testing.assert_allclose(resampled.predictions.std(axis=0), own, rtol=0.35)


def test_worst_case_helps_the_target_that_is_behind():
    runs, law = table(60, 0.0), fit_exponential(*made_runs(60))
    worst = propose(
        runs, method="exponential", goal=make_goal(TARGETS, worst_case=True), natural=NATURAL, num_resamples=0
    )
    mean = propose(runs, method="exponential", natural=NATURAL, num_resamples=0)
    base = law.predict(NATURAL[None])[0]

    def excess(proposal):
        return (law.predict(np.array([list(proposal.weights.values())]))[0] - base).max()

    assert excess(worst) < excess(mean) - 1e-3
    assert worst.objective == pytest.approx(excess(worst), abs=1e-4)


def uneven_levels():
    """Two targets that pull apart: one of high losses that hardly vary, one of low losses that do."""
    share = np.linspace(0.05, 0.95, 10)
    weights = np.column_stack([share, 1 - share])
    return make_table(["a", "b"], ["high", "low"], weights, np.column_stack([10 - 0.1 * share, 1 + share]))


def test_the_best_observed_run_is_judged_as_the_proposal_is():
    found = propose(uneven_levels(), method="linear", goal=make_goal(["high", "low"], worst_case=True), check=False)
    # By the largest loss itself it would be the run with the least of the high one, a share of .95.
    assert found.baselines["best observed"]["a"] == pytest.approx(0.45)
    assert found.baseline_objectives["best observed"] < 0.01


def test_a_target_of_no_weight_changes_nothing():
    runs = table(30)
    named = propose(runs, method="exponential", goal=make_goal(TARGETS, {"qa": 2.0}), num_resamples=0, check=False)
    alone = propose(runs.only(["qa"]), method="exponential", num_resamples=0, check=False)
    assert named.to_json() == alone.to_json()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_proposes_with_intervals(method):
    found = propose(table(20), method=method, num_resamples=4, check=False)
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.gains["natural"]["low"] <= found.gains["natural"]["high"]
    assert (found.predicted_losses is None) == (method == "utilimax")


def test_warnings_name_bounds_few_runs_extrapolation_and_instability():
    weights, losses = made_runs(40, 0.5)
    keep = np.flatnonzero(weights[:, 0] < 0.5)[:5]
    few = make_table(DOMAINS, TARGETS, weights[keep], losses[keep])
    constraints = make_constraints(DOMAINS, floors={"books": 0.8}, ceilings={"books": 0.9})
    text = " / ".join(propose(few, method="effective", constraints=constraints, num_resamples=10).warnings)
    for words in ("on a bound: books (ceiling 0.9)", "5 runs fit 6 parameters", "outside the runs' range", "books"):
        assert words in text
    wild = make_table(DOMAINS, TARGETS, weights, np.random.default_rng(0).normal(size=losses.shape) + 9)
    text = " / ".join(propose(wild, method="linear", num_resamples=40).warnings)
    assert "unstable optimum" in text and "does not predict" in text


def test_a_clean_fit_inside_the_runs_gives_no_false_alarm():
    constraints = make_constraints(DOMAINS, kl_weight=0.5)
    assert propose(table(60, 0.01), method="exponential", constraints=constraints, num_resamples=20).warnings == []


@pytest.mark.parametrize("method", ["diminishing", "ensemble"])
def test_a_fit_that_still_falls_at_its_last_step_is_said_and_one_that_does_not_is_not(method, monkeypatch):
    found = propose(table(), method=method, num_resamples=0, check=False)
    assert not any("not converged" in text for text in found.warnings)
    monkeypatch.setattr(curves, "MAX_STEPS", 20)  # these runs take about 80
    found = propose(table(), method=method, num_resamples=0, check=False)
    words = "fit of diminishing had not converged after 20 steps for proofs; its optimum may depend on the order"
    assert any(words in text for text in found.warnings)


def test_unknown_methods_and_other_domains_are_refused():
    with pytest.raises(InputError, match="is unknown"):
        method_named("magic")
    with pytest.raises(InputError, match="needs 2m\\+1 runs"):
        method_named("autoscale")
    with pytest.raises(InputError, match="the table has"):
        propose(table(), constraints=make_constraints(("a", "b")))


def test_the_same_seed_gives_the_same_proposal_and_rows_in_another_order_the_same_optimum(proposal):
    again = propose(table(), method="exponential", natural=NATURAL, num_resamples=40, seed=1)
    assert again.to_json() == proposal.to_json()
    weights, losses = made_runs(45, 0.03)
    law = fit_exponential(weights[::-1], losses[::-1])
    best = optimise(law, make_goal(TARGETS), make_constraints(DOMAINS)).weights
    np.testing.assert_allclose(best, list(proposal.weights.values()), atol=1e-3)


def test_a_worst_case_is_counted_from_natural_by_every_refit_itself():
    runs = table(30, 0.1)
    law, goal = LinearLaw(runs.weights, runs.losses), make_goal(TARGETS, worst_case=True)
    goal, asked = goal.counted_from(law.predict(NATURAL[None])), np.array([[0.4, 0.2, 0.2, 0.2], NATURAL])
    resampled = bootstrap(law, runs, goal, make_constraints(DOMAINS), asked, num_resamples=20)
    np.testing.assert_allclose(resampled.values[:, 1], 0, atol=1e-12)


def test_target_weights_reach_a_portfolio_and_a_worst_case_does_not_go_with_one():
    runs = table()
    weights = [
        list(propose(runs, method="utilimax", goal=make_goal(TARGETS, goal), num_resamples=0).weights.values())
        for goal in (None, {"qa": 0.99, "proofs": 0.01}, {"qa": 0.01, "proofs": 0.99})
    ]
    assert np.abs(np.diff(weights, axis=0)).max(axis=1).min() > 0.05
    with pytest.raises(InputError, match="utilimax predicts no losses"):
        propose(runs, method="utilimax", goal=make_goal(TARGETS, worst_case=True), num_resamples=0)
