"""The most helpful and most harmful examples: equal scores keep the order of the pool, however the pool is cut."""

import numpy as np
import pytest
import torch

from thresher.attribution.scoring.top import Extremes, first


def expected(scores: np.ndarray, k: int, sign: int) -> list[list[int]]:
    """Rows of each column by score, then by position."""
    return [sorted(range(len(scores)), key=lambda row: (sign * column[row], row))[:k] for column in scores.T]


@pytest.mark.parametrize("block", [1, 7, 40, 200])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_among_equals_the_earlier_example_is_named(block, levels):
    scores = np.random.default_rng(levels).integers(0, levels, size=(200, 5)).astype(np.float32)
    extremes = Extremes(5, 12)
    for start in range(0, 200, block):
        extremes.merge(torch.from_numpy(scores[start : start + block]), start)
    for side, sign in (("helpful", -1), ("harmful", 1)):
        values, places = extremes.best[side]
        assert places.T.tolist() == expected(scores, 12, sign)
        assert torch.equal(values, torch.from_numpy(scores).gather(0, places))


def test_of_fewer_than_asked_for_all_are_in_order():
    scores = torch.tensor([[1.0], [2.0], [1.0]])
    assert first(scores, 5, largest=True)[1].flatten().tolist() == [1, 0, 2]
    assert first(scores, 5, largest=False)[1].flatten().tolist() == [0, 2, 1]
    assert first(scores[:0], 5, largest=True)[1].shape == (0, 1)
