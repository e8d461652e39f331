"""Paired comparisons over seeds, against scipy and against what an interval promises."""

import numpy as np
import pytest
from scipy import stats

from thresher.errors import InputError
from thresher.intervals import interval, paired
from thresher.selection.statistics.comparison import POOLED, Measurement, compare_arms

LOSSES = {
    ("random", "squad"): [6.75, 6.80, 6.71, 6.77],
    ("dsdm", "squad"): [6.56, 6.58, 6.57, 6.50],
    ("random", "gsm8k"): [5.46, 5.50, 5.41, 5.52],
    ("dsdm", "gsm8k"): [4.71, 4.80, 4.69, 4.75],
    ("bottom", "squad"): [7.07, 7.00, 7.11, 7.05],
    ("bottom", "gsm8k"): [6.36, 6.40, 6.31, 6.38],
}
RUNS = [Measurement(arm, seed, task, x) for (arm, task), losses in LOSSES.items() for seed, x in enumerate(losses)]


@pytest.mark.parametrize("n", [2, 3, 9])
def test_the_paired_interval_is_that_of_scipys_paired_t_test(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(loc=0.3, size=n)
    found, expected = paired(a, b), stats.ttest_rel(a, b).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-10)
    assert found.mean == pytest.approx((a - b).mean()) and found.n == n


def test_95_percent_of_intervals_cover_the_true_mean():
    rng = np.random.default_rng(1)
    found = [interval(rng.normal(loc=2.0, size=4)) for _ in range(2000)]
    coverage = np.mean([each.low <= 2.0 <= each.high for each in found])
    assert abs(coverage - 0.95) < 0.02  # four standard errors of a share over 2,000 draws


def test_what_the_seed_does_to_both_runs_cancels():
    seed_effect = np.array([0.0, 5.0, -9.0, 2.0])
    apart = np.array([0.2, 0.3, 0.25, 0.21])
    a, b = (paired(apart + effect, effect) for effect in (seed_effect, 0 * seed_effect))
    np.testing.assert_allclose([a.low, a.high], [b.low, b.high], rtol=1e-9)
    assert not a.includes_zero


def test_every_arm_is_compared_with_the_baseline_on_every_task_and_on_their_mean():
    rows = compare_arms(RUNS, baseline="random")
    assert [(row.arm, row.task) for row in rows] == [
        (arm, task) for arm in ("dsdm", "bottom") for task in ("squad", "gsm8k", POOLED)
    ]
    for row in rows:
        tasks = ["squad", "gsm8k"] if row.task == POOLED else [row.task]
        ours, theirs = (np.mean([LOSSES[arm, task] for task in tasks], axis=0) for arm in (row.arm, "random"))
        expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        np.testing.assert_allclose([row.difference.low, row.difference.high], [expected.low, expected.high], rtol=1e-9)
        assert row.difference.n == 4 and row.seeds == (0, 1, 2, 3)


def test_the_order_of_runs_does_not_matter():
    by_place = {(row.arm, row.task): row for row in compare_arms(RUNS, baseline="random")}
    shuffled = [RUNS[i] for i in np.random.default_rng(0).permutation(len(RUNS))]
    assert {(row.arm, row.task): row for row in compare_arms(shuffled, baseline="random")} == by_place


def test_a_seed_that_one_side_lacks_is_left_out_of_the_pairs():
    runs = [run for run in RUNS if not (run.arm == "dsdm" and run.seed == 1 and run.task == "gsm8k")]
    seeds = {(row.arm, row.task): row.seeds for row in compare_arms(runs, baseline="random")}
    assert seeds["dsdm", "gsm8k"] == seeds["dsdm", POOLED] == (0, 2, 3)
    assert seeds["dsdm", "squad"] == seeds["bottom", POOLED] == (0, 1, 2, 3)


def test_one_task_has_no_pooled_row():
    rows = compare_arms([run for run in RUNS if run.task == "squad"], baseline="random")
    assert [row.task for row in rows] == ["squad", "squad"]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="at least 2 seeds, 1 given"):
        paired(np.array([1.0]), np.array([2.0]))
    with pytest.raises(InputError, match="3 and 2 values cannot be paired"):
        paired(np.ones(3), np.ones(2))
    with pytest.raises(InputError, match="not all finite"):
        paired(np.array([1.0, np.nan]), np.zeros(2))
    with pytest.raises(InputError, match="'control' has no runs; pass one of: random, dsdm, bottom"):
        compare_arms(RUNS, baseline="control")
    with pytest.raises(InputError, match="'dsdm', seed 0, task 'squad' is there twice"):
        compare_arms([*RUNS, Measurement("dsdm", 0, "squad", 1.0)], baseline="random")
    with pytest.raises(InputError, match="share 1 seeds on squad"):
        compare_arms([run for run in RUNS if run.seed == 0], baseline="random")
