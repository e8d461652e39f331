"""Designs: inside the constraints, spread out, and each next batch where it informs most."""

import numpy as np
import pytest

from tests.selection.mixture.cases import DOMAINS, TARGETS, made_runs
from thresher.errors import InputError
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.design import next_runs, one_up_one_down, plan_runs
from thresher.selection.mixture.goal import make_goal
from thresher.selection.mixture.laws.exponential import fit_exponential
from thresher.selection.mixture.laws.gaussian_process import fit_gaussian_process
from thresher.selection.mixture.table import make_table
from thresher.studies.mixtures.proposal import propose_from


def constraints(**options):
    return make_constraints(DOMAINS, prior={"books": 1, "code": 2, "web": 4, "law": 1}, **options)


@pytest.mark.parametrize("kind", ["dirichlet", "space-filling"])
def test_planned_mixtures_are_inside_different_and_the_same_for_a_seed(kind):
    limits = constraints(floors={"law": 0.05}, ceilings={"web": 0.6}, max_kl=1.0)
    plan = plan_runs(limits, 17, kind=kind, seed=4)
    assert plan.weights.shape == (17, 4)
    np.testing.assert_allclose(plan.weights.sum(axis=1), 1)
    assert np.all(plan.weights >= limits.lower - 1e-9) and np.all(plan.weights <= limits.upper + 1e-9)
    assert np.all(limits.kl(plan.weights) <= 1 + 1e-9)
    assert len(np.unique(plan.weights.round(9), axis=0)) == 17
    np.testing.assert_array_equal(plan.weights, plan_runs(limits, 17, kind=kind, seed=4).weights)
    assert not np.array_equal(plan.weights, plan_runs(limits, 17, kind=kind, seed=5).weights)


def test_dirichlet_runs_have_the_prior_as_their_mean():
    limits = constraints()
    plan = plan_runs(limits, 4000, kind="dirichlet", low=2.0)
    np.testing.assert_allclose(plan.weights.mean(axis=0), limits.prior, atol=0.015)


def test_space_filling_runs_are_further_apart_than_random_ones():
    def nearest(weights):
        gaps = np.sum((np.sqrt(weights)[:, None] - np.sqrt(weights)) ** 2, axis=2)
        return np.min(gaps + 9 * np.eye(len(weights)), axis=1).min()

    spread, random = (
        nearest(plan_runs(constraints(), 20, kind=kind).weights) for kind in ("space-filling", "dirichlet")
    )
    assert spread > 4 * random


def test_a_ddo_has_a_base_run_then_each_domain_cut_then_each_raised():
    amounts = one_up_one_down(3, low=0.25, high=2.0)
    expected = [[1, 1, 1], [0.25, 1, 1], [1, 0.25, 1], [1, 1, 0.25], [2, 1, 1], [1, 2, 1], [1, 1, 2]]
    np.testing.assert_array_equal(amounts, expected)
    plan = plan_runs(constraints(), kind="ddo")
    assert plan.weights.shape == (9, 4)
    np.testing.assert_allclose(plan.weights[1], np.array([0.2, 1, 1, 1]) / 3.2)
    assert plan.to_json()["data_relative_to_base"][:2] == pytest.approx([1, 0.8])


def test_designs_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="9 runs, not 12"):
        plan_runs(constraints(), 12, kind="ddo")
    with pytest.raises(InputError, match="'grid' is unknown"):
        plan_runs(constraints(), 12, kind="grid")


def test_the_next_batch_is_near_the_optimum_inside_and_not_one_mixture_repeated():
    weights, losses = made_runs(25, noise=0.02)
    table = make_table(DOMAINS, TARGETS, weights, losses)
    law, goal, limits = fit_exponential(weights, losses), make_goal(TARGETS), constraints(ceilings={"books": 0.7})
    batch = next_runs(law, table, goal, limits, 6, seed=2)
    assert batch.shape == (6, 4) and len(np.unique(batch.round(9), axis=0)) == 6
    assert np.all(batch[:, 0] <= 0.7 + 1e-9)
    # Better than what was run so far, and where the process knows less than it does about the runs.
    assert goal.value(law.predict(batch)).mean() < np.median(goal.value(losses))
    process = fit_gaussian_process(weights, goal.value(losses)[:, None])
    assert process.deviation(batch).mean() > process.deviation(weights).mean()


def uneven_levels():
    """Two targets that pull apart: one of high losses that hardly vary, one of low losses that do."""
    share = np.linspace(0.05, 0.95, 10)
    weights = np.column_stack([share, 1 - share])
    return make_table(["a", "b"], ["high", "low"], weights, np.column_stack([10 - 0.1 * share, 1 + share]))


@pytest.mark.parametrize(
    ("worst_case", "kl_weight"),
    [(True, 0.0), (False, 100.0)],
)
def test_the_runs_that_come_next_serve_the_objective_of_the_proposal(worst_case, kl_weight):
    table = uneven_levels()
    limits = make_constraints(table.domains, kl_weight=kl_weight)
    goal = make_goal(table.targets, worst_case=worst_case)
    found = propose_from(table, goal, limits, method="linear", num_resamples=0, num_next=3)
    # Without the reference, or without the KL, the least is at a corner.
    assert found["weights"]["a"] == pytest.approx(0.5, abs=0.01)
    assert all(run["a"] == pytest.approx(0.5, abs=0.1) for run in found["next_runs"])
    assert len({round(run["a"], 6) for run in found["next_runs"]}) == 3


def test_a_batch_is_no_larger_than_the_constraints_leave_mixtures():
    table = uneven_levels()
    limits = make_constraints(table.domains, floors={"a": 0.4, "b": 0.6})
    found = propose_from(table, make_goal(table.targets), limits, method="linear", num_resamples=0, num_next=3)
    assert [run["a"] for run in found["next_runs"]] == pytest.approx([0.4])


def test_active_batches_find_a_better_mixture_than_random_ones():
    """The whole loop on a made-up truth: 12 first runs, two batches of 4, then the optimum; paired over seeds."""
    from tests.selection.mixture.cases import true_losses
    from thresher.selection.mixture.optimiser import optimise

    goal, limits = make_goal(TARGETS), make_constraints(DOMAINS)
    regret = {"active": [], "random": []}
    for seed in range(6):
        for kind, found in regret.items():
            rng = np.random.default_rng(seed)
            weights = plan_runs(limits, 12, seed=seed).weights
            for batch in range(2):
                losses = true_losses(weights) + 0.02 * np.random.default_rng(seed).normal(size=(len(weights), 2))
                law = fit_gaussian_process(weights, losses)
                table = make_table(DOMAINS, TARGETS, weights, losses)
                more = (
                    next_runs(law, table, goal, limits, 4, seed=batch)
                    if kind == "active"
                    else rng.dirichlet([1] * 4, 4)
                )
                weights = np.vstack([weights, more])
            losses = true_losses(weights) + 0.02 * np.random.default_rng(seed).normal(size=(len(weights), 2))
            best = optimise(fit_gaussian_process(weights, losses), goal, limits, num_candidates=500).weights
            found.append(goal.value(true_losses(best[None]))[0])
    assert np.mean(regret["active"]) < np.mean(regret["random"])
