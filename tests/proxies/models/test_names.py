"""One grammar of names; paths that are not there are never asked of the network."""

import importlib
import shutil
import sys

import huggingface_hub
import pytest

from thresher.checkpoints import locate
from thresher.errors import InputError
from thresher.proxies.models import names
from thresher.proxies.models.identity import hash_of_function
from thresher.proxies.models.names import parse
from thresher.proxies.models.spec import build_model, model_spec
from thresher.proxies.models.weights import open_model, read_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.single import train

CONFIG = TrainConfig.for_language(batch_size=16, steps=3, learning_rate=1e-2, precision="float32")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever asks the hub fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was asked: {args} {kwargs}")

    for name in ("hf_hub_download", "model_info", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    monkeypatch.setattr("transformers.utils.hub.hf_hub_download", refuse)
    monkeypatch.setattr("requests.Session.request", refuse)


@pytest.fixture
def checkpoint(text, tmp_path):
    build_model(model_spec("60k", text), 5).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("0.4M", names.LADDER, "0.4M"),
        ("400000", names.LADDER, "400000"),
        ("llama:1M", names.LADDER, "1M"),
        ("rn-1/16", names.RESNET, "1/16"),
        ("mlp-64x2", names.MLP, "64x2"),
        ("torchvision:resnet18", names.TORCHVISION, "resnet18"),
        ("torchvision:resnet18@w.pth", names.TORCHVISION, "resnet18"),
        ("hf:owner/name", names.CHECKPOINT, "owner/name"),
        ("hf:gpt2", names.CHECKPOINT, "gpt2"),
        ("lora-4:hf:owner/name", names.ADAPTERS, "owner/name"),
        ("package.module:function", names.FUNCTION, "package.module:function"),
    ],
)
def test_each_form_is_read(name, kind, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (parse(name).kind, parse(name).value) == (kind, value)


def test_a_folder_is_found_by_its_path_with_and_without_hf(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    for name in ("checkpoint", "./checkpoint", "hf:checkpoint", str(checkpoint), f"hf:{checkpoint}"):
        found = parse(name)
        assert found.kind == names.CHECKPOINT and found.value.endswith("checkpoint")


@pytest.mark.parametrize(
    "name",
    [
        "/nowhere/model",
        "hf:/nowhere/model",
        "./chekpoint",
        "hf:./chekpoint",
        "~/no-such-model-here",
        "hf:~/no-such-model-here",
        "here/chekpoint",
        "hf:here/chekpoint",
        "chekpoint",
        "hf:chekpoint",
        "a/b/c",
        "hf:a/b/c",
        "owner/name",
        "lora:hf:./chekpoint",
        "hf:",
        "",
    ],
)
def test_a_path_that_is_not_there_is_refused_without_the_network(name, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for trained in (False, True):
        with pytest.raises(InputError) as caught:
            parse(name, trained=trained)
        assert "\n" not in str(caught.value)
        if name in ("./chekpoint", "chekpoint", "hf:chekpoint", "hf:./chekpoint"):
            assert "near it: checkpoint" in str(caught.value)


def test_only_hf_asks_the_hub_and_a_name_without_it_is_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("hf:owner/name") == "owner/name"
    with pytest.raises(InputError, match="or hf:owner/name for the hub"):
        parse("owner/name")


def test_a_file_and_a_folder_of_something_else_are_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="is a file, not a model"):
        parse(str(checkpoint / "model.safetensors"))
    with pytest.raises(InputError, match=r"neither a model artefact nor a checkpoint.*in it: .*checkpoint"):
        parse(str(tmp_path))


def test_a_size_goes_before_a_folder_of_that_name_in_training_and_after_it_elsewhere(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_model(model_spec("60k", text), 5).save_pretrained(tmp_path / "60k")
    assert parse("60k").kind == names.LADDER
    assert parse("./60k").kind == parse("60k", trained=True).kind == names.CHECKPOINT


@pytest.mark.parametrize("name", ["60k", "llama:60k", "lora:hf:owner/name"])
def test_an_untrained_model_is_nothing_to_attribute_to(name, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="without training; train it"):
        read_spec(name, text)


def test_a_trained_artefact_is_trained_further_from_where_it_is(text, tmp_path):
    first = train(model_spec("60k", text), text, out=tmp_path / "first", config=CONFIG, seed=1, device="cpu")
    spec = model_spec(str(first.path), text)
    start, end = build_model(spec, 7).state_dict(), open_model(first.path).state_dict()
    assert all((start[name] == end[name]).all() for name in end)
    second = train(spec, text, out=tmp_path / "second", config=CONFIG, seed=2, device="cpu")
    assert second.facts["initial"]["content_hash"] == first.content_hash
    assert read_spec(second.path)["source"] == "ladder"
    moved = open_model(second.path).state_dict()
    assert any((moved[name] != end[name]).any() for name in end)
    (first.path / "spec.json").write_text((first.path / "spec.json").read_text() + " ")
    with pytest.raises(InputError, match="damaged"):
        build_model(spec, 7)


def test_a_model_is_trained_further_without_the_checkpoint_it_came_from(text, checkpoint, tmp_path):
    first = train(
        model_spec(f"hf:{checkpoint}", text), text, out=tmp_path / "first", config=CONFIG, seed=1, device="cpu"
    )
    shutil.rmtree(checkpoint)
    start, end = build_model(model_spec(str(first.path), text), 7).state_dict(), open_model(first.path).state_dict()
    assert start.keys() == end.keys() and all((start[name] == end[name]).all() for name in end)


def test_code_of_ones_own_is_part_of_what_a_model_is_known_by(digits, tmp_path, monkeypatch, caplog):
    code = """
from torch import nn


def make(*, num_classes, image_shape):
    channels, height, width = image_shape
    body = nn.{}()
    return nn.Sequential(nn.Flatten(), body, nn.Linear(channels * height * width, num_classes))
"""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    specs, hashes = [], []
    for activation in ("ReLU", "Tanh", "Tanh "):
        (tmp_path / "my_networks.py").write_text(code.format(activation.strip()) + activation[4:] + "\n")
        importlib.invalidate_caches()
        sys.modules.pop("my_networks", None)
        spec = model_spec("my_networks:make", digits)
        specs.append(spec)
        hashes.append(hash_of_function(spec))
    assert specs[0] != specs[1] == specs[2] and hashes[0] != hashes[1] == hashes[2]
    caplog.clear()
    build_model(specs[2], 0)
    assert not caplog.records
    build_model(specs[0], 0)
    assert "my_networks:make is of other code than when this model was made" in caplog.text
