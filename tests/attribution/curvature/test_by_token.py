"""What predictions carry, against autograd of each prediction's loss and the slopes of the whole."""

import pytest
import torch

from tests.attribution.curvature.test_solving import named
from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import cnn, gpt2
from thresher.attribution.curvature.by_token import slopes_by_token
from thresher.attribution.gradients.slopes import Slopes
from thresher.outputs import logits_of


@pytest.mark.parametrize("make", [cnn, gpt2])
def test_tokens_add_up_to_the_slope_of_their_window(tmp_path, make):
    pool, _ = dual_cases.examples(tmp_path, make)
    model, directions = make(0), named(make(0), 1)
    batch = pool.batch(range(9))
    made = slopes_by_token(model, batch, {name: value[0] for name, value in directions.items()})
    assert made.shape == batch["labels"].shape
    slopes, _ = Slopes(model, pool.batch(range(2)), directions, output="loss").read(batch)
    torch.testing.assert_close(made.flatten(1).sum(dim=1) if made.ndim > 1 else made, slopes[:, 0])


def test_each_token_has_the_slope_of_its_own_loss(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, gpt2)
    model, directions = gpt2(0), named(gpt2(0), 1)
    batch = pool.batch([3])
    made = slopes_by_token(model, batch, {name: value[0] for name, value in directions.items()})[0]
    labels, parameters = batch["labels"][0], list(model.parameters())
    predicted = [j for j in range(1, len(labels)) if labels[j] != -100]
    for j in range(len(labels)):
        if j not in predicted:
            assert made[j] == 0
            continue
        loss = -logits_of(model, batch)[0, j - 1].log_softmax(dim=0)[labels[j]]
        gradients = torch.autograd.grad(loss, parameters)
        slope = sum((g * v[0]).sum() for g, v in zip(gradients, directions.values(), strict=True))
        torch.testing.assert_close(made[j], slope / len(predicted))
