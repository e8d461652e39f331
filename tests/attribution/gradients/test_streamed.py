"""Gradients sketched as they are made, against the sketch of the whole row."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.attribution.models import gpt2, tokens
from thresher.attribution.gradients import streamed
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.attribution.gradients.streamed import Scattered, SumOfSketches

SIZES = {"a": 300, "b": 7, "c": 41}


def features(model: nn.Module, batch: dict, **options) -> torch.Tensor:
    with Featurizer(copy.deepcopy(model), **options) as featurizer:
        return featurizer(batch).features


@pytest.fixture(scope="module")
def tied() -> nn.Module:
    torch.manual_seed(0)
    return gpt2(64, 1, vocabulary=90, positions=19)


def test_what_is_sketched_as_it_is_made_is_the_sketch_of_the_whole_row(tied):
    batch = tokens(5, 19, 90)
    with Featurizer(copy.deepcopy(tied), projection="sjlt", k=131, seed=3) as featurizer:
        found, sketch = featurizer(batch).features, featurizer._projector
    whole = features(tied, batch, projection="identity")
    torch.testing.assert_close(found, sketch(whole), rtol=1e-4, atol=1e-5 * float(found.abs().max()))


def test_examples_taken_one_at_a_time_give_the_same_rows(tied, monkeypatch):
    batch = tokens(5, 19, 90)
    together = features(tied, batch, projection="sjlt", k=131)
    monkeypatch.setattr(streamed, "HELD", 1)
    torch.testing.assert_close(features(tied, batch, projection="sjlt", k=131), together)


def test_rows_of_convolutions_and_norms_are_sketched_too():
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)]
    batch = {"pixel_values": torch.randn(4, 3, 8, 8), "labels": torch.tensor([0, 3, 4, 1])}
    model = nn.Sequential(*layers).eval()
    with Featurizer(copy.deepcopy(model), projection="sjlt", k=200) as featurizer:
        found, sketch = featurizer(batch).features, featurizer._projector
    torch.testing.assert_close(found, sketch(features(model, batch, projection="identity")), rtol=1e-4, atol=1e-5)


def test_inner_products_are_right_on_average_and_off_by_one_over_root_k():
    rows = torch.randn(2, sum(SIZES.values()), generator=torch.Generator().manual_seed(0))
    rows /= rows.norm(dim=1, keepdim=True)
    k, errors = 64, []
    for seed in range(400):
        first, second = SumOfSketches(SIZES, k, seed=seed)(rows)
        errors.append(float(first @ second - rows[0] @ rows[1]))
    errors = torch.tensor(errors)
    assert abs(float(errors.mean())) < 4 * float(errors.std()) / 20
    assert 0.75 < float(errors.std()) * k**0.5 < 1.25


def test_fewer_numbers_than_k_are_only_moved():
    rows = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    moved = Scattered(torch.randperm(20)[:7], 20, seed=0)(rows)
    torch.testing.assert_close(moved @ moved.T, rows @ rows.T)


def test_nothing_is_lost_of_rows_of_at_most_k_numbers():
    rows = torch.randn(3, sum(SIZES.values()), generator=torch.Generator().manual_seed(0))
    moved = SumOfSketches(SIZES, sum(SIZES.values()), seed=5)(rows)
    torch.testing.assert_close(moved @ moved.T, rows @ rows.T)


def test_no_more_numbers_are_kept_than_a_gradient_has():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    batch = {"pixel_values": torch.randn(2, 1, 2, 3), "labels": torch.tensor([0, 2])}
    assert features(model, batch, projection="sjlt", k=8192).shape == (2, 21)
