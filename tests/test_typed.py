"""The tests' own type checks are at work: what breaks a signature is refused, if not at every call of a test."""

import pytest
import torch
from jaxtyping import TypeCheckError

from tests import FULLY, check_anew, checked
from thresher.proxies.training.head import head_loss


def test_a_wrong_shape_is_refused_though_the_arithmetic_would_take_it():
    hidden, matrix, labels = torch.ones(2, 3), torch.ones(4, 3), torch.tensor([0, 1])
    one_scale = torch.ones(1)  # broadcast to both rows
    for _ in range(FULLY):
        with pytest.raises(TypeCheckError):
            head_loss(hidden, matrix, labels, one_scale)
    check_anew()
    with pytest.raises(TypeCheckError):
        head_loss(hidden, matrix, labels, one_scale)


def test_whole_numbers_are_good_for_floats_and_words_are_not():
    @checked
    def half(number: float) -> float:
        return number / 2

    assert half(3) == 1.5
    with pytest.raises(Exception, match="half"):
        half("3")  # pyright: ignore[reportArgumentType]
