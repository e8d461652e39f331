"""What cannot be attributed with is said in one line: the value, the rule, the next action."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thresher
from tests.api.cases import blobs, trained
from thresher.api.weights import bare

TRAIN, TEST = blobs(9, seed=1), blobs(3, seed=2)
MODEL = trained(TRAIN, steps=5)


def points(labels):
    return TensorDataset(torch.randn(len(labels), 5), labels)


def constant():
    model = trained(TRAIN, steps=1)
    nn.init.zeros_(model[2].weight)
    return model


def broken():
    model = trained(TRAIN, steps=1)
    nn.init.constant_(model[2].bias, float("nan"))
    return model


CASES = {
    "no examples": ([], TEST, {}, "train has 0 examples"),
    "empty test": (TRAIN, TensorDataset(torch.zeros(0, 5)), {}, "test has 0 examples"),
    "a class too many": (points(torch.tensor([0, 1, 5])), TEST, {}, "train example 2 has label 5, .* 3 outputs"),
    "a negative class": (points(torch.tensor([0, -1, 1])), TEST, {}, "label -1"),
    "no labels": (TensorDataset(torch.randn(4, 5)), TEST, {}, "train has no labels; .*loss="),
    "real labels": (points(torch.rand(4)), TEST, {}, "loss="),
    "constant outputs": (TRAIN, TEST, {"model": constant()}, "same output for all 12 inputs"),
    "outputs that are no numbers": (TRAIN, TEST, {"model": broken()}, "train example 0 is not finite"),
    "no data": (iter(TRAIN), TEST, {}, "train is a .*iterator"),
    "unstackable": ([(torch.zeros(5), 0), (torch.zeros(4), 1)], TEST, {}, "cannot be made one batch .*collate_fn"),
    "no tensors": ([("a", 0)], TEST, {}, "tensors are needed"),
    "an unknown method": (TRAIN, TEST, {"method": "tracin"}, "method 'tracin' is unknown"),
    "an unknown q": (TRAIN, TEST, {"q": "cube"}, "q 'cube' is unknown"),
    "k of exact": (TRAIN, TEST, {"method": "exact", "k": 3}, "leave k out"),
    "layers with a loss": (TRAIN, TEST, {"method": "two-sided", "loss": lambda o, b: o[:, 0]}, "pass exact or sjlt"),
    "a loss of the batch": (TRAIN, TEST, {"loss": lambda o, b: o.mean()}, r"gave \[\] for a batch of 9"),
    "no parameter": (TRAIN, TEST, {"parameters": "attention"}, "no trainable parameter that matches"),
    "no checkpoints": (TRAIN, TEST, {"checkpoints": []}, "checkpoints is empty"),
    "another architecture": (TRAIN, TEST, {"checkpoints": [nn.Linear(2, 2)]}, "checkpoint 0 does not fit"),
    "a missing file": (TRAIN, TEST, {"checkpoints": ["gone.pt"]}, "gone.pt does not exist"),
    "inputs of another size": (TensorDataset(torch.zeros(4, 7), torch.arange(4) % 3), TEST, {}, "fails on train .*7"),
    "damping": (TRAIN, TEST, {"damping": -1.0}, "damping = -1 cannot be; give a number from 0"),
    "a batch of none": (TRAIN, TEST, {"batch_size": 0}, "batch_size = 0 cannot be"),
    "two-dimensional outputs": (TRAIN, TEST, {"model": nn.Unflatten(1, (5, 1))}, "no trainable parameter"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong(case):
    train, test, options, message = CASES[case]
    options = {"model": MODEL, "device": "cpu"} | options
    with pytest.raises(thresher.InputError, match=message) as error:
        thresher.attribute(options.pop("model"), train, test, **options)
    assert "\n" not in str(error.value)


def test_a_name_is_no_model():
    with pytest.raises(thresher.InputError, match=r"model is a str; pass a torch\.nn\.Module"):
        bare("resnet18")


def test_results_refuse_what_they_have_not():
    result = thresher.attribute(MODEL, DataLoader(TRAIN, batch_size=2), TEST, device="cpu")
    for call, message in {
        lambda: result.top(test=3): "test example 3 is not there",
        lambda: result.top(test=0, k=0): "k=0",
        lambda: result.select(0): "count 0",
        lambda: result.select(1.5): "fraction 1.5",
        lambda: result.select(10): "count 10",
        lambda: result.select(2, tests=[]): "tests is empty",
        lambda: result.select(2, tests=[0, 1], weights=[1.0]): "1 weights for 2",
    }.items():
        with pytest.raises(thresher.InputError, match=message):
            call()
