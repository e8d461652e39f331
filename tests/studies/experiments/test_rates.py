"""Learning rates judged on tables whose answer is known: set by set, and on the sets that can decide."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.attribution.cases import digits
from thresher.cli.lines import rate_lines
from thresher.errors import InputError
from thresher.proxies.settings import ModelSettings
from thresher.selection.statistics.decisions import MEAN
from thresher.studies.experiments.learning_rate import _tables
from thresher.studies.experiments.rates import ALL, DECIDING, TriedRates, judge_rates, recommendation, row_of

RECIPES = [f"r{i}" for i in range(10)]
SETS = ["clear", "other", "noisy"]
OWN = TriedRates.of(2e-3, (0.1, 1.0))


def losses(order, noise, rng, clear_noise=0.001):
    """[recipes, sets, seeds]: two sets that rank recipes as `order` does, one of nothing but noise."""
    level = 3 + 0.1 * np.asarray(order, dtype=float)[:, None, None] * np.array([1.0, 0.5, 0.0])[None, :, None]
    size = np.array([clear_noise, clear_noise, noise])[None, :, None]
    return level + size * rng.normal(size=(len(order), 3, 2))


@pytest.fixture
def facts():
    """At a tenth of its rate the proxy ranks as the reference; at its own it swaps neighbours far apart."""
    rng, true = np.random.default_rng(0), np.arange(10)
    swapped = np.array([3, 1, 2, 0, 4, 5, 9, 7, 8, 6])
    reference = {1e-3: losses(true + 0.5, 0.01, rng), 2e-3: losses(true, 0.01, rng)}
    reference[1e-3][4] -= np.array([0.09, 0.045, 0.0])[:, None]  # one recipe is better off at the lower rate
    proxy = dict(zip(OWN.tried, (losses(true, 0.01, rng), losses(swapped, 0.01, rng)), strict=True))
    drops = np.full((2, 10), 0.2)
    found = judge_rates(proxy, drops, reference, RECIPES, SETS, own=OWN, num_resamples=100)
    return {**found, "own": {"0.1M": 2e-3, "1M": 1e-3}, "largest_eigenvalue": 5.0}


def test_multiples_are_of_the_own_rate_and_rates_as_they_are_take_their_place():
    assert OWN.tried == (2e-4, 2e-3) and OWN.nearest == 2e-3
    assert [OWN.multiple(rate) for rate in OWN.tried] == [0.1, 1.0]
    given = TriedRates.of(2e-3, (0.1,), (3e-3, 1e-4))
    assert given.tried == (1e-4, 3e-3) and given.nearest == 3e-3 and given.multiple(3e-3) == 1.5
    assert TriedRates.of(0.002, (0.3,)).tried == (0.0006,)  # the same run however it is asked for
    for own, tried in ((0.0, (1e-3,)), (1e-3, ()), (1e-3, (-1.0,)), (1e-3, (float("nan"),))):
        with pytest.raises(InputError, match="all above 0"):
            TriedRates(own, tried)


def test_the_order_in_which_recipes_are_given_changes_nothing():
    rng, true = np.random.default_rng(0), np.arange(10)
    reference = {1e-3: losses(true + 0.5, 0.1, rng), 2e-3: losses(true, 0.1, rng, 0.05)}
    proxy, drops = {rate: losses(true, 0.1, rng, 0.05) for rate in OWN.tried}, rng.uniform(0.05, 0.3, (2, 10))
    given = judge_rates(proxy, drops, reference, RECIPES, SETS, own=OWN, num_resamples=100)
    for order in (np.arange(10)[::-1], np.random.default_rng(1).permutation(10)):
        sides = [{rate: each[order] for rate, each in side.items()} for side in (proxy, reference)]
        recipes = [RECIPES[i] for i in order]
        found = judge_rates(sides[0], drops[:, order], sides[1], recipes, SETS, own=OWN, num_resamples=100)
        assert found == given


def test_every_rate_is_judged_on_every_set_and_on_those_that_can_decide(facts):
    assert facts["recommended"] == 2e-4 and facts["standard"] == 2e-3
    assert facts["deciding"] == ["clear", "other"] and facts["tuned"]["r4"] == 1e-3
    assert [row["multiple"] for row in facts["rates"]] == [0.1, 1.0]
    low, own = facts["rates"]
    swapped = spearmanr([3, 1, 2, 0, 4, 5, 9, 7, 8, 6], range(10)).statistic
    assert own["judged"]["other"]["spearman"]["value"] == pytest.approx(swapped, abs=0.05)
    assert low["judged"]["clear"]["spearman"]["value"] > 0.95 > swapped
    for row in (low, own):
        judged = row["judged"]
        assert set(judged) == {*SETS, MEAN, DECIDING, ALL}
        value = {name: judged[name]["spearman"]["value"] for name in judged}
        assert value[MEAN] == pytest.approx(np.mean([value[name] for name in SETS]))
        assert value[DECIDING] == pytest.approx(np.mean([value[name] for name in ("clear", "other")]))
    assert low["ceilings"]["noisy"] < 0.9 < low["ceilings"]["clear"]


def test_a_set_that_one_rate_hides_in_noise_counts_for_that_rate_too():
    rng, true = np.random.default_rng(1), np.arange(10)
    proxy = {2e-4: losses(true, 0.05, rng, clear_noise=0.5), 2e-3: losses(true, 0.01, rng)}
    found = judge_rates(proxy, np.full((2, 10), 0.2), {2e-3: losses(true, 0.01, rng)}, RECIPES, SETS, own=OWN,
                        num_resamples=20)  # fmt: skip
    assert found["deciding"] == ["clear", "other"]
    assert found["rates"][0]["ceilings"]["clear"] < 0.9
    assert found["rates"][0]["judged"][DECIDING]["spearman"]["value"] < 0.9


def test_the_recommendation_names_multiple_and_rate_at_each_size_beside_the_standard(facts):
    lines = recommendation(facts)
    assert lines[0] == "train proxies at 0.1 of their own rate: 0.0002 at 0.1M, 0.0001 at 1M"
    assert lines[1].startswith("recommended, 0.1 of it: Spearman of 0.95 or more on 2 of 3 test sets")
    assert "on 2 of the 2 that can decide" in lines[1]
    assert lines[2].startswith("standard, 1 of it: Spearman of 0.95 or more on 0 of 3 test sets")
    shown = "\n".join(rate_lines(facts))
    assert "plateau recommended" in shown and "set by set: recommended (0.0002), standard (0.002)" in shown
    assert [line.endswith("cannot decide") for line in shown.splitlines() if line.startswith("  ")] == [
        False,
        False,
        True,
    ]


def test_without_a_rate_that_trained_or_a_set_that_decides_it_is_said(facts):
    rng, true = np.random.default_rng(2), np.arange(10)
    few = {rate: losses(true, 0.01, rng)[:, 2:] for rate in OWN.tried}
    nothing = judge_rates(few, np.zeros((2, 10)), {2e-3: few[2e-3]}, RECIPES, SETS[2:], own=OWN, num_resamples=20)
    nothing |= {"own": {"0.1M": 2e-3}, "largest_eigenvalue": 1.0}
    assert nothing["recommended"] is None and row_of(nothing, None) is None
    assert recommendation(nothing) == ["no rate trained every recipe; pass larger ones"]
    assert nothing["deciding"] == [] and DECIDING not in nothing["rates"][0]["judged"]
    shown = "\n".join(rate_lines(nothing))
    assert "set by set: standard (0.002)" in shown and "cannot decide" in shown
    trained = judge_rates(few, np.ones((2, 10)), {2e-3: few[2e-3]}, RECIPES, SETS[2:], own=OWN, num_resamples=20)
    assert "no test set can decide" in recommendation({**trained, "own": {"0.1M": 2e-3}})[-1]


def test_rates_that_differ_in_the_last_digits_are_runs_of_their_own(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 20))
    rates = TriedRates.of(0.1, (), (0.001, 0.0010000001, 0.1))
    tables = _tables(ModelSettings(size="mlp-8x1", learning_rate=0.1), rates, pool)
    assert [table.learning_rate for table in tables.values()] == [0.001, 0.0010000001, 0.1]
