"""Ways to train that change memory and time, never what is trained: batches in parts, activations again, compiling."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from thresher.errors import InputError
from thresher.proxies.models.spec import build_model, model_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.objective import num_predictions, objective_of, training_loss
from thresher.proxies.training.single import train

CONFIG = TrainConfig.for_language(batch_size=10, steps=6, precision="float32")


def tensors_of(artifact):
    return load_file(artifact.file("model.safetensors"))


def assert_same_weights(one, other, tolerance):
    first, second = tensors_of(one), tensors_of(other)
    assert list(first) == list(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_parts_of_a_batch_sum_to_its_gradient(text, weighted, own):
    """Of the ladder's own loss and the general one; the parts differ in their number of predicted tokens."""
    spec = model_spec("60k", text) | ({} if own else {"source": "function"})
    model = build_model(model_spec("60k", text), 1)
    objective = objective_of(model, spec, CONFIG, torch.device("cpu"))
    batch = text.batch([0, 7, 1, 14, 21, 2, 3])
    weights = torch.linspace(0, 2, 7) if weighted else None
    parts = [slice(0, 2), slice(2, 3), slice(3, 7)]
    cut = [{name: tensor[part] for name, tensor in batch.items()} for part in parts]
    assert len({num_predictions(part) / len(part["labels"]) for part in cut}) == 3
    whole = objective(batch, weights, None)
    total = num_predictions(batch)
    losses = [
        objective(part, None if weights is None else weights[where], total)
        for part, where in zip(cut, parts, strict=True)
    ]
    torch.testing.assert_close(sum(losses), whole, rtol=1e-6, atol=1e-6)
    expected = torch.autograd.grad(whole, list(model.parameters()))
    for one, other in zip(torch.autograd.grad(sum(losses), list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_part_without_predictions_adds_nothing(text):
    model = build_model(model_spec("60k", text), 1)
    batch = text.batch([0, 1])
    batch["labels"][:] = -100
    loss = training_loss(model, batch, None, 17)
    assert loss.item() == 0 and all(not g.any() for g in torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("parts", [3, 64])
def test_a_run_in_parts_gives_the_weights_and_losses_of_whole_batches(text, tmp_path, parts):
    spec, weights = model_spec("60k", text), np.linspace(0.5, 1.5, len(text))
    # Of SGD: AdamW divides by a gradient's size, so one of rounding alone becomes a whole step.
    config = replace(CONFIG, optimizer="sgd", learning_rate=0.1)
    whole = train(spec, text, out=tmp_path / "whole", config=config, seed=1, weights=weights)
    cut = train(spec, text, out=tmp_path / "cut", config=replace(config, accumulate=parts), seed=1, weights=weights)
    assert_same_weights(cut, whole, 1e-6)
    np.testing.assert_allclose(cut.facts["loss_curve"], whole.facts["loss_curve"], atol=1e-5)
    assert cut.meta["config"]["training"]["accumulate"] == parts


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_recomputed_activations_give_the_same_gradients(text, family):
    spec = model_spec(f"{family}:60k", text)
    gradients, recomputed = [], []
    for config in (CONFIG, replace(CONFIG, activation_checkpointing=True)):
        model = build_model(spec, 1)
        calls = []
        norm = "h.0.ln_1" if family == "gpt2" else "layers.0.input_layernorm"
        model.base_model.get_submodule(norm).register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        objective_of(model, spec, config, torch.device("cpu"))(text.batch([0, 7, 2]), None, None).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        recomputed.append(len(calls))
    assert recomputed == [1, 2]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_a_model_without_activation_checkpointing_is_named(digits, text, tmp_path):
    config = TrainConfig.for_vision(epochs=1.0, activation_checkpointing=True)
    with pytest.raises(InputError, match=r"model 'mlp-9x1' \(Sequential\) has no activation checkpointing"):
        train(model_spec("mlp-9x1", digits), digits, out=tmp_path / "model", config=config, seed=0)
    made = train(
        model_spec("60k", text),
        text,
        out=tmp_path / "text",
        config=replace(CONFIG, activation_checkpointing=True),
        seed=0,
    )
    plain = train(model_spec("60k", text), text, out=tmp_path / "plain", config=CONFIG, seed=0)
    assert made.file("config.json").read_text() == plain.file("config.json").read_text()
    assert_same_weights(made, plain, 1e-6)


def test_no_compiler_is_one_line(text, tmp_path, monkeypatch):
    def fail(function):
        raise RuntimeError("no C++ compiler was found\nat all")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(
        InputError, match=r"does not work on cpu here .*no C\+\+ compiler was found\); install"
    ) as caught:
        train(
            model_spec("60k", text),
            text,
            out=tmp_path / "m",
            config=replace(CONFIG, compile=True),
            seed=0,
            device="cpu",
        )
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_run_keeps_the_weights_and_their_names(text, tmp_path):
    spec = model_spec("60k", text)
    config = replace(CONFIG, optimizer="sgd", learning_rate=0.1)
    plain = train(spec, text, out=tmp_path / "plain", config=config, seed=1, device="cpu")
    compiled = train(spec, text, out=tmp_path / "compiled", config=replace(config, compile=True), seed=1, device="cpu")
    assert_same_weights(compiled, plain, 1e-5)
    assert compiled.facts["flops"] == plain.facts["flops"]
