"""What noise takes from agreement: formulas against simulated recipes, and what more seeds would give back."""

import numpy as np
import pytest

from thresher.selection.statistics.attenuation import best_with_seeds, rho_of, share_with, value_of, with_seeds
from thresher.selection.statistics.decisions import judge
from thresher.selection.statistics.signal import signal_of

MEASURES = ("decision_accuracy", "weighted_accuracy", "clear_accuracy", "spearman", "r2")


@pytest.fixture(scope="module")
def simulated():
    """Losses [2000 recipes, 8 seeds] at a proxy and a reference whose true losses go together with rho .95."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=2000)
    proxy = 0.95 * reference + np.sqrt(1 - 0.95**2) * rng.normal(size=2000)
    return [10 + side[:, None] + noise * rng.normal(size=(2000, 8)) for side, noise in ((proxy, 0.9), (reference, 0.6))]


def measured(sides, seeds):
    kept = [side[:, :seeds] for side in sides]
    signals = tuple(signal_of(side.tolist()) for side in kept)
    x, y = (side.mean(axis=1) for side in kept)
    assert signals[1] is not None
    return judge({"a": x}, {"a": y}, errors={"a": signals[1].error}, num_resamples=0)["a"], signals, (x, y)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_of_gaussian_recipes_is_the_formula_of_their_correlation(measure, simulated):
    found, signals, (x, y) = measured(simulated, 2)
    rho = float(np.corrcoef(x, y)[0, 1])
    assert found[measure].value == pytest.approx(value_of(measure, rho, signals[1].own_share), abs=0.015)
    assert rho_of(measure, value_of(measure, rho, 0.9), 0.9) == pytest.approx(rho, abs=1e-6)
    assert rho_of(measure, 0.0) == pytest.approx(0, abs=1e-6) and rho_of(measure, 1.0) == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_what_more_seeds_would_give_is_what_they_give(measure, simulated):
    found, signals, _ = measured(simulated, 2)
    more, _, _ = measured(simulated, 8)
    assert with_seeds(measure, found[measure].value, signals, (4.0, 4.0)) == pytest.approx(
        more[measure].value, abs=0.025
    )
    assert with_seeds(measure, found[measure].value, signals, (1.0, 1.0)) == pytest.approx(found[measure].value)
    assert more[measure].value > found[measure].value


def test_shares_follow_spearman_brown_and_without_noise_or_signal_seeds_change_nothing(simulated):
    few, many = (measured(simulated, seeds)[1][0] for seeds in (2, 8))
    assert share_with(few, 4.0) == pytest.approx(many.own_share, abs=0.03)
    assert share_with(None, 4.0) == 1
    assert with_seeds("spearman", 0.7, (None, None), (9.0, 9.0)) == pytest.approx(0.7)
    rng = np.random.default_rng(1)
    same = np.array([1.0, 2.0, 3.0])[:, None] * 0 + 5 + rng.permuted(np.tile([-1.0, 0.0, 1.0], (3, 1)), axis=1)
    hopeless = signal_of(same.tolist())
    assert hopeless.own_share == 0 and with_seeds("r2", 0.3, (hopeless, few), (9.0, 9.0)) == 0.3
    # The best possible is that of `signal.ceiling`, here far from sure and then nearly.
    sides = {"a": (few, few)}
    assert best_with_seeds("decision_accuracy", sides, (1.0, 1.0)) == pytest.approx(
        0.5 + np.arcsin(few.own_share) / np.pi
    )
    assert best_with_seeds("decision_accuracy", sides, (64.0, 64.0)) > 0.93


def test_a_value_beyond_what_noise_allows_is_never_lowered(simulated):
    few = measured(simulated, 2)[1]
    assert with_seeds("decision_accuracy", 0.99, few, (2.0, 1.0)) == 0.99
