"""From a name to a specification, from that to a model, and to disk and back."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from thresher.artifacts import build
from thresher.errors import InputError
from thresher.outputs import logits_of
from thresher.proxies.models.checkpoints.pretrained import load
from thresher.proxies.models.checkpoints.tensors import load_weights
from thresher.proxies.models.spec import build_model, check_fits, model_spec, num_parameters
from thresher.proxies.models.vision import ResNet18
from thresher.proxies.models.weights import open_model, read_spec, save_model


def make_own(*, num_classes, image_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(image_shape)), num_classes))


def stored(model, spec, path):
    return build(path, kind="model", config={}, seed=0, inputs={}, write=lambda draft: save_model(model, spec, draft))


@pytest.mark.parametrize(
    ("multiplier", "parameters"),
    [
        ("1/16", 44_622),
        ("1/8", 176_402),
        ("1/4", 701_466),
        ("1/2", 2_797_610),
        ("1", 11_173_962),
        ("2", 44_662_922),
        ("4", 178_585_866),
    ],
)
def test_resnet_widths_have_the_published_parameter_counts(multiplier, parameters):
    with torch.device("meta"):
        model = ResNet18(Fraction(multiplier), num_classes=10)
    assert num_parameters(model) == {"total": parameters, "non_embedding": parameters}


@pytest.mark.parametrize(
    "name", ["rn-1/16", "mlp-19x2", "mlp-5x0", "torchvision:mobilenet_v3_small", f"{__name__}:make_own"]
)
def test_a_vision_model_is_rebuilt_from_its_folder(name, digits, tmp_path):
    if "mobilenet" in name:  # it wants three channels
        digits = type("Colour", (type(digits),), {"image_shape": (3, 8, 8)})(digits.artifact)
    spec = json.loads(json.dumps(model_spec(name, digits)))
    model = build_model(spec, 5).eval()
    stored(model, spec, tmp_path / "model")
    images = torch.randn(4, *spec["image_shape"])
    again = open_model(tmp_path / "model")
    assert not again.training
    assert torch.equal(model(images), again(images))
    assert model(images).shape == (4, 10)
    assert read_spec(tmp_path / "model") == spec


@pytest.mark.parametrize("name", ["60k", "llama:60k", "gpt_neox:60k"])
def test_transformers_reads_a_language_artefact_as_it_is(name, text, tmp_path):
    from transformers import AutoModelForCausalLM

    spec = model_spec(name, text)
    model = build_model(spec, 5).eval()
    stored(model, spec, tmp_path / "model")
    batch = text.batch([0, 7, 11])
    expected = logits_of(model, batch)
    for again in (AutoModelForCausalLM.from_pretrained(tmp_path / "model"), open_model(tmp_path / "model")):
        assert torch.equal(logits_of(again, batch), expected)


def test_a_transformers_checkpoint_is_opened_and_trained_further(text, tmp_path):
    original = build_model(model_spec("60k", text), 5).eval()
    original.save_pretrained(tmp_path / "checkpoint")
    spec = model_spec(f"hf:{tmp_path / 'checkpoint'}", text)
    batch = text.batch([3, 7])
    for model in (open_model(tmp_path / "checkpoint"), build_model(json.loads(json.dumps(spec)), 8).eval()):
        assert torch.equal(logits_of(model, batch), logits_of(original, batch))
    build_model(model_spec("60k", text), 6).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(InputError, match="has changed since it was described"):
        build_model(spec, 8)


def test_a_checkpoint_with_a_missing_or_misshapen_tensor_is_refused(text, tmp_path):
    build_model(model_spec("60k", text), 5).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "transformer.h.0.ln_1.weight"
    save_file(
        {key: tensor for key, tensor in tensors.items() if key != name},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(InputError, match=rf"has no tensor {name}"):
        load(str(tmp_path), "language")
    save_file(tensors | {name: torch.ones(7)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"tensor {name} is \[7\], its configuration says \[\d+\]"):
        load(str(tmp_path), "language")


def test_weights_of_another_architecture_are_refused_by_the_first_tensor_that_differs(digits, tmp_path):
    spec = model_spec("mlp-19x2", digits)
    stored(build_model(spec, 0), spec, tmp_path / "model")
    other = build_model(model_spec("mlp-23x2", digits), 0)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(InputError, match=r"tensor 1.weight is \[19, 64\] there, \[23, 64\] in this model") as caught:
        load_weights(other, tmp_path / "model" / "model.safetensors")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
    with pytest.raises(InputError, match=r"tensor 3.bias is \[19\] there, absent in this model"):
        load_weights(build_model(model_spec("mlp-19x1", digits), 0)[:3], tmp_path / "model" / "model.safetensors")


def test_what_is_no_model_is_refused_in_one_line(digits, text, tmp_path):
    shutil.copy(__file__, tmp_path / "model.safetensors")
    for action, words in [
        (lambda: open_model(tmp_path / "nowhere"), "does not exist: there is no such file"),
        (lambda: open_model(digits.artifact.path), "holds 'image-examples', but 'model' is needed"),
        (
            lambda: load_weights(build_model(model_spec("60k", text), 0), tmp_path / "model.safetensors"),
            "not a readable",
        ),
        (lambda: model_spec("rn-x", digits), "not a width"),
        (lambda: model_spec("rn-0", digits), "not a width"),
        (lambda: model_spec("mlp-64", digits), "write mlp-WIDTHxLAYERS"),
        (lambda: model_spec("0.4M", digits), "unknown for vision"),
        (lambda: model_spec("rn-1/16", text), "unknown for language; pass a size such as 0.4M"),
        (lambda: model_spec("no.such:thing", text), "No module named"),
        (lambda: build_model(model_spec("torchvision:nothing", digits), 0), "no model 'nothing'"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            action()
        assert "\n" not in str(caught.value)


def test_the_seed_alone_decides_the_initialisation(text):
    spec = model_spec("60k", text)
    torch.manual_seed(1)
    first = build_model(spec, 3).state_dict()
    state = torch.get_rng_state()
    second, other = build_model(spec, 3).state_dict(), build_model(spec, 4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["transformer.wte.weight"], other["transformer.wte.weight"])
    assert torch.equal(state, torch.get_rng_state())


def test_examples_that_a_model_cannot_read_are_refused(text, digits):
    spec = model_spec("60k", text)
    check_fits(spec, text)
    with pytest.raises(InputError, match=r"is for language, but .* is for vision"):
        check_fits(spec, digits)
    with pytest.raises(InputError, match="has vocab_size 131, but model '60k' was made for at most 100"):
        check_fits(spec | {"vocab_size": 100}, text)
