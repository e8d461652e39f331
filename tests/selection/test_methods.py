"""Choosing: normalising and combining targets, budgets, controls, one interface over all."""

import subprocess
import sys

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.scores import Scores
from thresher.selection import combination
from thresher.selection.budget import num_to_keep
from thresher.selection.choosing import select
from thresher.selection.evidence import Evidence
from thresher.selection.selectors import controls
from thresher.selection.selectors.ranking import by


def make_scores(num_pool: int = 37, **by_target: np.ndarray) -> Scores:
    ids = [f"e{i}" for i in range(num_pool)]
    if not by_target:
        rng = np.random.default_rng(3)
        by_target = {name: rng.normal(size=num_pool).astype(np.float32) for name in ("squad", "gsm8k", "lambada")}
    return Scores(ids, ["web"] * num_pool, by_target)


def test_combining_is_the_weighted_mean_of_z_scores():
    a, b = np.array([1.0, 2.0, 6.0]), np.array([10.0, -10.0, 30.0])
    z_a, z_b = ((x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean()) for x in (a, b))
    np.testing.assert_allclose(combination.combine({"a": a, "b": b}), (z_a + z_b) / 2, rtol=1e-12)
    np.testing.assert_allclose(combination.combine({"a": a, "b": b}, {"b": 3, "a": 1}), (z_a + 3 * z_b) / 4, rtol=1e-12)


def test_a_target_with_large_numbers_does_not_decide_alone():
    scores = make_scores().by_target
    louder = {**scores, "squad": 1000 * scores["squad"] + 50}
    np.testing.assert_allclose(combination.combine(louder), combination.combine(scores), atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused_and_counted(bad):
    values = np.array([0.0, bad, 1.0, bad])
    with pytest.raises(InputError, match="2 of 4 scores for target 'squad' are not finite"):
        combination.combine({"squad": values})


def test_constant_scores_are_refused_even_when_their_spread_is_a_rounding_error():
    constant = np.full(1001, 0.1)
    assert constant.std() > 0
    with pytest.raises(InputError, match=r"all 1001 scores for target 'flat' are 0\.1;"):
        combination.combine({"flat": constant})


@pytest.mark.parametrize(
    "weights", [{"a": 1.0}, {"a": 1.0, "c": 1.0}, {"a": -1.0, "b": 2.0}, {"a": 0, "b": 0}, {"a": np.nan, "b": 1}]
)
def test_weights_that_do_not_fit_are_refused(weights):
    values = np.array([0.0, 1.0, 3.0])
    with pytest.raises(InputError, match="weight"):
        combination.combine({"a": values, "b": values}, weights)


def test_dsdm_takes_the_largest_and_bottom_the_smallest_with_ties_by_position():
    evidence = Evidence([f"e{i}" for i in range(7)], scores={"a": np.array([2.0, 5.0, 2.0, 5.0, -1.0, 2.0, -1.0])})
    assert controls.dsdm(evidence).order(np.arange(7))[:4].tolist() == [1, 3, 0, 2]
    assert controls.bottom(evidence).order(np.arange(7))[:3].tolist() == [4, 6, 0]


def test_many_ties_are_broken_by_position_whatever_the_budget():
    scores = np.zeros(5000)
    scores[::7] = 1.0
    expected = np.concatenate([np.flatnonzero(scores), np.flatnonzero(scores == 0)])
    for num_kept in (1, 700, 4321):
        np.testing.assert_array_equal(by(scores).order(np.arange(5000))[:num_kept], expected[:num_kept])


def test_random_depends_on_its_seed_alone_and_takes_everyone_equally_often():
    np.testing.assert_array_equal(controls.random_order(29, seed=4), controls.random_order(29, seed=4))
    assert controls.random_order(29, seed=4).tolist() != controls.random_order(29, seed=5).tolist()
    taken = np.zeros(11)
    for seed in range(2000):
        taken[controls.random_order(11, seed)[:3]] += 1
    # Binomial(2000, 3/11): mean 545, sd 20; five sd on each of 11 counts.
    assert np.abs(taken - 2000 * 3 / 11).max() < 100


def test_budgets():
    assert num_to_keep(15, fraction=0.2) == 3
    assert num_to_keep(15, fraction=1) == 15
    assert num_to_keep(15, fraction=0.001) == 1
    assert num_to_keep(15, count=15) == 15


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"fraction": 0}, r"fraction 0 is outside \(0, 1\]"),
        ({"fraction": 1.01}, "fraction 1.01 is outside"),
        ({"fraction": float("nan")}, "fraction nan is outside"),
        ({"count": 0}, "0 examples asked for, but the pool has 15"),
        ({"count": 16}, "16 examples asked for, but the pool has 15"),
        ({}, "exactly one"),
        ({"count": 2, "fraction": 0.5}, "exactly one"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(budget, message):
    with pytest.raises(InputError, match=message):
        num_to_keep(15, **budget)


@pytest.mark.parametrize("method", ["dsdm", "random", "bottom", "gradient_norm"])
def test_every_method_splits_the_pool_in_two(method):
    selected = select(method, make_scores(), fraction=0.3, seed=1, gradient_norms=np.arange(37.0))
    assert len(selected.kept) == 11
    assert sorted([*selected.kept, *selected.dropped]) == list(range(37))


def test_dsdm_keeps_what_is_better_than_all_it_drops_and_bottom_what_is_worse():
    best, worst = (select(method, make_scores(), count=7) for method in ("dsdm", "bottom"))
    assert best.scores[best.kept].min() > best.scores[best.dropped].max()
    assert worst.scores[worst.kept].max() < worst.scores[worst.dropped].min()
    assert (np.diff(best.scores[best.order]) <= 0).all()


def test_only_the_named_targets_count():
    one = np.arange(37.0)
    scores = make_scores(one=one, other=-one)
    assert select("dsdm", scores, count=2, targets=["one"]).kept.tolist() == [36, 35]
    assert select("dsdm", scores, count=2, weights={"one": 1, "other": 9}).kept.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "best"},
            "column 1: 'best' is unknown; write one of: dsdm, dsdm_diverse, random, bottom, gradient_norm",
        ),
        ({"targets": ["squat"]}, "'squat' has no scores; pass targets among: squad, gsm8k, lambada"),
        ({"targets": []}, "no target named"),
        ({"method": "gradient_norm"}, "needs gradient norms"),
        ({"method": "gradient_norm", "gradient_norms": np.ones(36)}, "36 gradient norms for 37 examples"),
    ],
)
def test_what_cannot_be_selected_by_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        select(**{"method": "dsdm", "scores": make_scores(), "fraction": 0.2, **arguments})
    assert "\n" not in str(caught.value)


def test_every_name_that_the_packages_offer_is_there_and_none_needs_torch():
    code = (
        "import sys, thresher.selection, thresher.selection.mixture\n"
        "for package in (thresher.selection, thresher.selection.mixture):\n"
        "    assert all(getattr(package, name) is not None for name in package.__all__)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
