"""A cache and an artefact give back what was asked for: of another loss, forward pass or batch they make another."""

import functools
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import thresher
from tests.api.cases import blobs

TRAIN, TEST = blobs(12, seed=1), blobs(3, seed=2)


def loss_of(output, batch, weight=1.0):
    return weight * F.cross_entropy(output, batch[1], reduction="none") ** weight


class Net(nn.Module):
    """Two nets of one class and the same weights differ by what stands between the layers."""

    def __init__(self, act) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.act = nn.Linear(5, 8), nn.Linear(8, 3), act

    def forward(self, x):
        return self.second(self.act(self.first(x)))


def scores(folder, model, train=TRAIN, **options):
    return np.asarray(thresher.attribute(model, train, TEST, cache=folder, device="cpu", **options).scores)


def check(folder, model, first, second):
    """Each of two requests gives, from one cache, what it gives from an empty one."""
    one, other, again = (scores(folder / "shared", model, **options) for options in (first, second, first))
    np.testing.assert_array_equal(other, scores(folder / "own", model, **second))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert len(list((folder / "shared").glob("attribution-*"))) == 2


def test_a_loss_with_other_values_is_another(tmp_path):
    check(tmp_path, Net(F.relu), *({"loss": functools.partial(loss_of, weight=weight)} for weight in (1.0, 3.0)))


def test_batches_with_other_numbers_in_a_long_array_are_others(tmp_path):
    def loaded(weights):
        def collate(rows):
            x, y = torch.utils.data.default_collate(rows)
            return {"x": x, "labels": y, "weights": [weights] * len(rows)}

        return DataLoader(TRAIN, 4, collate_fn=collate)

    def loss(output, batch):
        given = batch["weights"] if isinstance(batch, dict) else [np.ones(1)] * len(output)
        labels = batch["labels"] if isinstance(batch, dict) else batch[1]
        return F.cross_entropy(output, labels, reduction="none") * torch.tensor([float(one.sum()) for one in given])

    plain, other = np.ones(2000), np.ones(2000)
    other[1000] = 5000
    model = nn.Sequential(nn.Linear(5, 3))
    check(tmp_path, model, *({"train": loaded(one), "loss": loss} for one in (plain, other)))


def test_a_model_that_uses_its_weights_otherwise_is_another(tmp_path):
    nets = [Net(F.relu), Net(torch.sin), Net(F.relu)]
    nets[2].first.requires_grad_(False)
    found = [scores(tmp_path / "shared", net) for net in nets]
    for number, (net, one) in enumerate(zip(nets, found, strict=True)):
        np.testing.assert_array_equal(one, scores(tmp_path / str(number), net))
    assert len({thresher.Checkpoint(net).content_hash for net in nets}) == 3
    assert thresher.Checkpoint(nets[0]).content_hash == thresher.Checkpoint(Net(F.relu)).content_hash


def test_features_of_another_forward_pass_are_not_taken_for_these(tmp_path):
    draw = np.random.default_rng(0)
    images = [(f"{i}", draw.integers(0, 255, (1, 5, 1)).astype(np.uint8), str(i % 3)) for i in range(9)]
    pool = thresher.prepare(images, out=tmp_path / "pool")
    nets = [nn.Sequential(nn.Flatten(), Net(act)) for act in (F.relu, torch.sin)]
    thresher.featurize(nets[0], pool, out=tmp_path / "features", k=8, device="cpu")
    with pytest.raises(thresher.InputError, match=r"was made with inputs\.model 0"):
        thresher.featurize(nets[1], pool, out=tmp_path / "features", k=8, device="cpu")


def test_a_loss_that_nothing_tells_from_others_is_refused_where_that_counts(tmp_path):
    lock = threading.Lock()

    def guarded(output, batch):
        with lock:
            return loss_of(output, batch)

    with pytest.raises(
        thresher.InputError, match=r"cache cannot tell loss from others: lock in loss is a lock"
    ) as error:
        scores(tmp_path, Net(F.relu), loss=guarded)
    assert "\n" not in str(error.value)
    assert thresher.attribute(Net(F.relu), TRAIN, TEST, loss=guarded, device="cpu").shape == (12, 3)
