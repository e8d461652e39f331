"""Embeddings are what enters the linear layer that is called last, wherever it stands among the modules."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.attribution.cases import digits
from thresher.attribution.embeddings import embeddings
from thresher.errors import InputError


class Classifier(nn.Module):
    """Its head stands before its body, and a second head is never called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(6, 10)
        self.body = nn.Linear(64, 6)
        self.other = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(torch.tanh(self.body(images.flatten(1))))


class OnGrid(nn.Module):
    """A head that reads every place of an image."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 10)

    def forward(self, images):
        return self.head(images.movedim(1, -1)).mean(dim=(1, 2))


def test_an_embedding_is_what_enters_the_linear_layer_called_last(tmp_path):
    examples, model = digits(tmp_path / "pool", slice(0, 20)), Classifier()
    images = examples.batch(np.arange(20))["pixel_values"]
    with torch.no_grad():
        expected = torch.tanh(model.body(images.flatten(1)))
    np.testing.assert_allclose(embeddings(model, examples, device="cpu"), expected, rtol=1e-5, atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_places_of_an_image_are_averaged(tmp_path):
    examples = digits(tmp_path / "pool", slice(0, 5))
    found = embeddings(OnGrid(), examples, device="cpu")
    expected = examples.batch(np.arange(5))["pixel_values"].mean(dim=(2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_calls_no_linear_layer_is_refused(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    with pytest.raises(InputError, match="calls no linear layer"):
        embeddings(model, digits(tmp_path / "pool", slice(0, 5)), device="cpu")
