"""What of a result is asked for, as people give it: lists, arrays, tensors, and what looks like one and is none."""

import numpy as np
import pytest
import torch

import thresher
from tests.api.cases import blobs, trained
from thresher.api.positions import positions, weights_of, whole

TRAIN, TEST = blobs(9, seed=1), blobs(3, seed=2)
MASKS = {
    "a list": [False, True, True],
    "an array": np.array([False, True, True]),
    "a tensor": torch.tensor([False, True, True]),
}


@pytest.fixture(scope="module")
def result():
    return thresher.attribute(trained(TRAIN), TRAIN, TEST, device="cpu")


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_is_no_list_of_positions(result, mask):
    with pytest.raises(thresher.InputError, match=r"tests\[0\]=False is no whole number; .*np\.flatnonzero"):
        result.select(3, tests=MASKS[mask])


def test_a_boolean_is_neither_a_position_nor_an_amount(result):
    for call, message in {
        lambda: result.top(True): "test=True is no whole number; pass the position of a test example, 0 to 2",
        lambda: result.top(0, k=True): "k=True is no whole number",
        lambda: result.select(True): "amount=True is no whole number; pass how many, or a fraction",
    }.items():
        with pytest.raises(thresher.InputError, match=message):
            call()


@pytest.mark.parametrize("value", [0.7, 1.0, np.float64(1), torch.tensor(1.0), np.array([1, 2]), "1", None, np.True_])
def test_what_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(thresher.InputError, match=r"^k=.* is no whole number; pass one$"):
        whole(value, "k", "pass one")
    with pytest.raises(thresher.InputError, match=r"tests"):
        positions([value], "tests")


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), torch.tensor(2)])
def test_whole_numbers_of_any_kind_are_positions(value):
    assert whole(value, "k", "pass one") == 2 and positions([value], "tests") == [2]


def test_what_is_no_list_is_refused():
    for values in (np.arange(4).reshape(2, 2), "01", torch.tensor(1)):
        with pytest.raises(thresher.InputError, match="is no list of positions") as error:
            positions(values, "tests")
        assert "\n" not in str(error.value)


def test_weights_and_positions_are_lists_arrays_or_tensors(result):
    expected = result.select(4, tests=[2, 0], weights=[3.0, 1.0])
    for kind in (np.array, torch.tensor, tuple):
        np.testing.assert_array_equal(result.select(4, kind([2, 0]), kind([3.0, 1.0])), expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "0 weights for 2"),
        (np.ones(3), "3 weights for 2"),
        ([0, 0], "not all 0"),
        ([-1.0, 2.0], "0 or more"),
        ([float("nan"), 1.0], "must be finite"),
        (["a", "b"], "are no numbers"),
        (np.ones((2, 2)), "are no numbers"),
    ],
)
def test_weights_that_weigh_nothing_are_refused_in_one_line(weights, message):
    with pytest.raises(thresher.InputError, match=message) as error:
        weights_of(weights, 2)
    assert "\n" not in str(error.value)
