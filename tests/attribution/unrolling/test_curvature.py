"""Slopes and products of a step's loss, on the kinds of models that people train."""

import dataclasses

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from thresher.attribution.unrolling.curvature import CURVATURES, cut, gradient_of
from thresher.attribution.unrolling.replay import ModelReplay
from thresher.attribution.unrolling.rules import pull_through_clipping

SIZES = {"vocab_size": 13, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
LONG = {"max_position_embeddings": 8, "bos_token_id": None, "eos_token_id": None}
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def language(family):
    config = AutoConfig.for_model(family, **SIZES, **LONG, tie_word_embeddings=family == "llama")
    return AutoModelForCausalLM.from_config(config)


MODELS = {
    "llama": lambda: language("llama"),
    "gpt_neox": lambda: language("gpt_neox"),
    "bert": lambda: AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("bert", **SIZES, **OFF, max_position_embeddings=8, num_labels=3)
    ),
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ),
}


def step_of(kind):
    """One step on rows of two examples each, in float64."""
    model = MODELS[kind]().double().train()
    owners = torch.tensor([0, 1, 1, 0])
    if kind == "convolution":
        batch = {"pixel_values": torch.randn(4, 1, 6, 6, dtype=torch.float64), "labels": torch.tensor([0, 2, 1, 1])}
    else:
        tokens = torch.randint(0, 13, (4, 8))
        batch = {"input_ids": tokens, "labels": tokens if kind != "bert" else torch.tensor([0, 2, 1, 1])}
        if kind == "bert":
            batch["attention_mask"] = torch.arange(8).expand(4, 8).lt(torch.tensor([[8], [5], [3], [8]])).long()
    replay = ModelReplay(model, torch.optim.SGD(model.parameters(), lr=0.1), [(batch, owners)], 2)
    return replay, replay.record()


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_slopes_and_products_are_those_of_finite_differences(kind):
    replay, step = step_of(kind)
    for name, gradient in gradient_of(replay.model, step, 2).items():
        torch.testing.assert_close(gradient, step.gradients[name])
    directions = {name: torch.randn(2, *value.shape, dtype=torch.float64) for name, value in step.parameters.items()}
    made = {name: curvature(replay.model, step, directions, 3) for name, curvature in CURVATURES.items()}
    # Llama's norms are computed in float32, whatever comes in.
    h, tolerance = (1e-4, 2e-2) if kind == "llama" else (1e-7, 1e-3)
    for d in range(2):
        ends = []
        for sign in (1, -1):
            at = {name: value + sign * h * directions[name][d] for name, value in step.parameters.items()}
            ends.append(gradient_of(replay.model, dataclasses.replace(step, parameters=at)))
        expected = torch.cat([(ends[0][name] - ends[1][name]).flatten() / (2 * h) for name in ends[0]])
        found = torch.cat([made["hessian"].along[name][d].flatten() for name in ends[0]])
        assert (found - expected).norm() < tolerance * expected.norm()
    # The slope of example i is its share of the gradient along the direction.
    for i in range(2):
        alone = dataclasses.replace(step, weights=torch.eye(2, dtype=torch.float64)[i])
        share = gradient_of(replay.model, alone)
        expected = sum((directions[name] * value).flatten(1).sum(dim=1) for name, value in share.items())
        # In forward mode torch is 3e-5 off on BERT, in float64 too.
        rtol, atol = (2e-4, 1e-5) if kind == "bert" else (1e-6, 1e-9)
        for products in made.values():
            torch.testing.assert_close(products.slopes[:, i], expected, rtol=rtol, atol=atol)
        torch.testing.assert_close(made["hessian"].slopes[:, i], expected, rtol=1e-6, atol=1e-9)
    for kind_of in ("gauss-newton", "fisher"):  # positive semi-definite
        bends = sum((directions[name] * value).flatten(1).sum(dim=1) for name, value in made[kind_of].along.items())
        assert (bends > 0).all()


def test_parts_that_draw_random_numbers_are_not_cut():
    _, step = step_of("convolution")
    assert [len(part.owners) for part in cut(step, 3)] == [3, 1]
    (part,) = step.parts
    random = type(part)(part.batch, part.owners, [torch.get_rng_state()])
    assert len(cut(dataclasses.replace(step, parts=[random]), 3)) == 1


@pytest.mark.parametrize("most", [None, 0.5, 100.0])
def test_clipping_backwards_is_autograds(most):
    gradients = {name: torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for name in "ab"}
    norm = torch.cat([value.flatten() for value in gradients.values()]).norm()
    factor = 1.0 if most is None else (most / (norm + 1e-6)).clamp(max=1.0)
    clipped = {name: value * factor for name, value in gradients.items()}
    directions = {name: torch.randn(2, 3, 2, dtype=torch.float64) for name in "ab"}
    plain = {name: value.detach() for name, value in clipped.items()}
    found = pull_through_clipping(directions, plain, float(norm.detach()), most)
    for d in range(2):
        inner = torch.stack([(clipped[name] * directions[name][d]).sum() for name in "ab"]).sum()
        expected = torch.autograd.grad(inner, list(gradients.values()), retain_graph=True)
        for name, value in zip("ab", expected, strict=True):
            torch.testing.assert_close(found[name][d], value)
