"""Compute multipliers and places, against curves whose answer is known."""

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.selection.statistics.comparison import standings
from thresher.selection.statistics.multiplier import compute_multiplier

BUDGETS = (1e6, 2e6, 4e6)


def line(compute, seed=0.0):
    """A loss that falls by .5 a doubling."""
    return 10 + seed - 0.5 * np.log2(compute)


def curve(seeds=(0.0, 0.3, -0.2)):
    return {budget: [line(budget, seed) for seed in seeds] for budget in BUDGETS}


def test_data_as_good_as_three_times_random_data_has_multiplier_three():
    reached = [line(3 * 1e6, seed) for seed in (0.0, 0.3, -0.2)]
    found = compute_multiplier(curve(), 1e6, reached, cost=5e5)
    assert found.alone.mean == pytest.approx(3) and found.alone.n == 3
    assert found.alone.low == pytest.approx(3) and found.alone.high == pytest.approx(3)  # seeds differ by a shift alone
    assert found.with_cost.mean == pytest.approx(2)  # 3 / 1.5
    assert not found.beyond


def test_worse_than_random_is_below_one_and_outside_the_budgets_is_marked():
    worse = compute_multiplier(curve(), 2e6, [line(1e6, seed) for seed in (0.0, 0.3, -0.2)])
    assert worse.alone.mean == pytest.approx(0.5) and worse.with_cost is None
    assert compute_multiplier(curve(), 1e6, [line(64e6, seed) for seed in (0.0, 0.3, -0.2)]).beyond


def test_noise_between_seeds_widens_the_interval_around_the_answer():
    rng = np.random.default_rng(0)
    random = {budget: [line(budget) + rng.normal(0, 0.02) for _ in range(5)] for budget in BUDGETS}
    found = compute_multiplier(random, 1e6, [line(2.5e6) + rng.normal(0, 0.02) for _ in range(5)])
    assert found.alone.low < 2.5 < found.alone.high and found.alone.high / found.alone.low > 1.02


def test_random_data_that_does_not_get_better_has_no_multiplier():
    flat = {budget: [1.0, 1.0] for budget in BUDGETS}
    rising = {budget: [1.0 + i, 1.0 - i] for i, budget in enumerate(BUDGETS)}
    assert compute_multiplier(rising, 1e6, [0.5, 0.5]) is None
    assert compute_multiplier(flat, 1e6, [0.5, 0.5]) is None


def test_too_few_budgets_and_unpaired_seeds_are_refused():
    with pytest.raises(InputError, match="2 budgets"):
        compute_multiplier({1.0: [1, 2], 2.0: [1, 2]}, 1.0, [1, 2])
    with pytest.raises(InputError, match="same seeds"):
        compute_multiplier(curve(), 1e6, [1.0, 2.0])
    with pytest.raises(InputError, match="above 0"):
        compute_multiplier(curve(), 0.0, [1.0, 2.0, 3.0])


def test_a_place_is_lost_only_to_an_arm_that_is_better_beyond_doubt():
    places = standings(
        {
            "noisy": {0: 1.0, 1: 1.6, 2: 0.7},
            "good": {0: 1.0, 1: 1.11, 2: 0.89},
            "bad": {0: 2.0, 1: 2.12, 2: 1.9},
        }
    )
    assert [(place.arm, place.rank) for place in places] == [("good", 1), ("noisy", 1), ("bad", 3)]


def test_places_of_one_seed_are_all_shared():
    assert {place.rank for place in standings({"a": {0: 1.0}, "b": {0: 2.0}})} == {1}
