"""traker's scripts, in small, for either package: models, data, and the comparison of what both give."""

import copy
import logging

import numpy as np
import torch
import trak
from sklearn.datasets import load_digits
from torch import nn

from thresher.attribution import TRAKer

N, T = 90, 17


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def resnet(seed=0):
    """The quickstart's ResNet-9, small."""
    torch.manual_seed(seed)

    def block(channels, out, groups=1):
        convolution = nn.Conv2d(channels, out, 3, padding=1, groups=groups, bias=False)
        norm = nn.BatchNorm2d(out)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))

    inner = Residual(nn.Sequential(block(6, 6), block(6, 6, groups=2)))
    head = nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(24, 10, bias=False))
    return nn.Sequential(block(1, 6), nn.MaxPool2d(2), inner, head).eval()


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).eval()


def digits():
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images[: N + T] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    labels = torch.tensor(labels[: N + T])
    return (images[:N], labels[:N]), (images[N:], labels[N:])


def batches(tensors, size=32):
    return [tuple(t[start : start + size] for t in tensors) for start in range(0, len(tensors[0]), size)]


def traker_of(model, folder, package=TRAKer, task="image_classification", **options):
    options = {"device": "cpu", "proj_dim": 24, "use_half_precision": False, "logging_level": logging.ERROR} | options
    return package(model=model, task=task, train_set_size=N, save_dir=str(folder), **options)


def script(package, models, train, targets, folder, task="image_classification", **options):
    """A traker script: every checkpoint featurised and finalised, then every checkpoint scored."""
    torch.manual_seed(3)
    traker = traker_of(copy.deepcopy(models[0]), folder / package.__module__.split(".")[0], package, task, **options)
    states = [{name: value.clone() for name, value in m.state_dict().items()} for m in models]
    for model_id, state in enumerate(states):
        traker.load_checkpoint(state, model_id=model_id)
        for batch in batches(train):
            traker.featurize(batch=batch, num_samples=len(batch[0]))
    # Scored first: with at most 100 features traker loses its projection in finalize_features.
    for model_id, state in enumerate(states):
        traker.saver.model_ids[model_id]["is_finalized"] = 1
        traker.start_scoring_checkpoint(exp_name="t", checkpoint=state, model_id=model_id, num_targets=T)
        for batch in batches(targets):
            traker.score(batch=batch, num_samples=len(batch[0]))
        traker.saver.model_ids[model_id]["is_finalized"] = 0
    traker.finalize_features()
    return traker, np.array(traker.finalize_scores(exp_name="t"))


def same_scores(models, train, targets, folder, theirs=None, **options):
    """Run both packages, traker with options of its own if need be; ours, after comparing."""
    _, expected = script(trak.TRAKer, models, train, targets, folder, **options | (theirs or {}))
    ours, found = script(TRAKer, models, train, targets, folder, **options)
    assert found.shape == expected.shape == (N, T)
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    return ours
