"""What few recipes can say: by counting, by simulation, and how many would decide."""

import itertools

import numpy as np
import pytest
from scipy import stats

from benchmarks.selection.coverage import coverage, truth
from thresher.intervals import Interval
from thresher.selection.statistics.decisions import judge
from thresher.selection.statistics.power import (
    LEAST_RECIPES,
    best_low,
    by_chance,
    draw_recipes,
    low_with,
    recipes_needed,
    recipes_to_decide,
    resampled_recipes,
)


def test_full_agreement_by_chance_is_counted_over_all_orders():
    for n in (2, 3, 4, 5):
        alike = [order == tuple(range(n)) for order in itertools.permutations(range(n))]
        assert by_chance(n) == pytest.approx(np.mean(alike))
    assert by_chance(LEAST_RECIPES) < 0.025 < by_chance(LEAST_RECIPES - 1)


def test_the_lower_end_at_full_agreement_is_the_percentile_of_how_often_the_unseen_recipe_is_drawn():
    """Spearman's exactly: u of the n + 1 draws is binomial."""
    for n in (6, 12, 30):
        most = stats.binom.ppf(0.975, n + 1, 1 / (n + 1))
        assert best_low("spearman", n) == pytest.approx(1 - most / (n + 1))
        assert best_low("r2", n) == pytest.approx((1 - most / (n + 1)) ** 2)
        rng, accuracies = np.random.default_rng(n), []
        for _ in range(4000):
            drawn = rng.integers(n + 1, size=n + 1)  # n is the unseen one
            pairs = [0.5 if n in pair else 1.0 for pair in itertools.combinations(drawn, 2) if pair[0] != pair[1]]
            accuracies.append(np.mean(pairs) if pairs else 0.5)
        assert best_low("decision_accuracy", n) == pytest.approx(np.quantile(accuracies, 0.025), abs=0.02)


def test_the_exact_bound_of_any_population_is_reached_by_recipes_out_of_order_with_all():
    """Full agreement of n, of decision accuracy A, has probability A^(n/2) at most; here it has that."""
    rng, n, share, agreed = np.random.default_rng(0), 6, 0.15, []
    for _ in range(20_000):
        aside = rng.random(n) < share
        agreed.append(not aside.any())
    accuracy = truth("reversed", share, num_samples=20)["decision_accuracy"]
    assert accuracy == pytest.approx((1 - share) ** 2, abs=0.015)
    assert np.mean(agreed) == pytest.approx((1 - share) ** n, abs=0.01)


@pytest.mark.parametrize("n", [3, 4, 6, 12, 24])
@pytest.mark.parametrize(("kind", "strength"), [("noise", 0.1), ("outliers", 0.1), ("coin", 0.1)])
def test_intervals_hold_the_truth_where_few_recipes_nearly_agree(n, kind, strength):
    """.93 of 120 draws within their own noise; the larger simulation is a benchmark (docs/studies.md)."""
    known = truth(kind, strength, num_samples=10)
    found = coverage(
        lambda x, y, seed: judge({"a": x}, {"a": y}, top=(), num_resamples=200, seed=seed)["a"],
        kind, strength, n, known, 120,
    )  # fmt: skip
    assert found["decision_accuracy"]["holds"] >= stats.binom.ppf(0.01, 120, 0.93) / 120
    assert found["spearman"]["holds"] >= stats.binom.ppf(0.01, 120, 0.93) / 120


def test_as_many_recipes_are_needed_as_reach_the_threshold_and_what_decides_is_no_fewer():
    for measure in ("decision_accuracy", "spearman", "r2"):
        n = recipes_needed(measure, 0.9)
        assert best_low(measure, n - 1) < 0.9 <= best_low(measure, n)
        assert recipes_to_decide(measure, Interval(1.0, best_low(measure, 5), 1.0), 5, 0.9) == n
    assert recipes_needed("decision_accuracy", 0.3) == LEAST_RECIPES
    # Below the threshold four times the recipes halve the distance to the upper end.
    assert recipes_to_decide("r2", Interval(0.8, 0.5, 1.0), 10, 0.9) == 40
    assert recipes_to_decide("r2", Interval(0.9, 0.5, 1.0), 10, 0.9) is None
    assert recipes_to_decide("r2", Interval(0.8999, 0.5, 1.0), 10, 0.9) is None


@pytest.mark.parametrize(
    ("measure", "now", "then", "within"),
    [("decision_accuracy", 12, 40, 0.01), ("decision_accuracy", 30, 120, 0.01), ("spearman", 30, 120, 0.02)],
)
def test_the_lower_end_of_more_recipes_is_about_what_they_have(measure, now, then, within):
    """Of recipes that a proxy places with noise of .3: the mean over draws."""
    rng, guessed, found = np.random.default_rng(0), [], []
    for draw in range(30):
        y = rng.normal(size=then)
        x = y + 0.3 * rng.normal(size=then)
        few, many = (
            judge({"a": x[:n]}, {"a": y[:n]}, top=(), num_resamples=200, seed=draw)["a"][measure] for n in (now, then)
        )
        guessed.append(low_with(measure, few, now, then, many.value))
        found.append(many.low)
    assert np.mean(guessed) == pytest.approx(np.mean(found), abs=within)
    assert low_with(measure, Interval(0.9, 0.8, 0.95), 30, 30, 0.9) == pytest.approx(0.8, abs=1e-6)


def test_the_interval_holds_its_own_value_and_without_resamples_is_the_value():
    rows = np.array([[1.0, 0.5, 0.5], [1.0, 0.6, 0.7]])
    found = resampled_recipes(rows)
    assert found.low <= 0.5125 and found.high == 1.0
    assert resampled_recipes(rows[:, :1]) == Interval(1.0, 1.0, 1.0)
    drawn = draw_recipes(5, 50, 0)
    assert (drawn.weights[1:].sum(axis=1) + drawn.unseen[1:] == 6).all() and drawn.unseen[0] == 0
