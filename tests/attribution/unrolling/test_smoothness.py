"""Metasmoothness: its formula, and that it tells a smooth training from one that turns at random."""

import pytest
import torch

from tests.attribution.unrolling.replays import perceptron
from thresher.attribution.unrolling.smoothness import metasmoothness, parameters_of, smoothness_of
from thresher.attribution.unrolling.sweep import Window, keep_states


def named(*values):
    return {"x": torch.tensor(values)}


def test_it_is_its_formula():
    # Moves (1, 1), (2, -1), (0, 3): on, back, and one that only began; |d| = 2, 1, 3.
    found = metasmoothness(named(0.0, 0.0, 0.0), named(1.0, 2.0, 0.0), named(2.0, 1.0, 3.0))
    assert found == pytest.approx((2 * 1 + 1 * -1 + 3 * 0) / 6)
    assert metasmoothness(named(0.0), named(1.0), named(2.0)) == 1
    assert metasmoothness(named(0.0), named(1.0), named(-1.0)) == -1


def test_a_smooth_training_has_nearly_all_of_it_and_is_left_as_it_was(tmp_path):
    replay = perceptron("smooth")
    window = Window.of(replay.num_steps)
    keep_states(replay, window, tmp_path)
    end = parameters_of(replay)
    assert smoothness_of(replay, window, tmp_path) > 0.95
    assert (replay.weights == 1).all()
    again = perceptron("smooth")
    again.run()
    for name, value in parameters_of(again).items():
        torch.testing.assert_close(value, end[name])


def test_the_same_seed_asks_the_same_question(tmp_path):
    replay = perceptron("adamw")
    window = Window.of(replay.num_steps, 4)
    keep_states(replay, window, tmp_path)
    first, second, other = (smoothness_of(replay, window, tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first == second != other
