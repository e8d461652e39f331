"""Checkpoints of images: their size, channels, labels and preparation are honoured, or refused by name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.proxies.models.checkpoint_cases import vit
from thresher.artifacts import build
from thresher.data.examples import ImageExamples
from thresher.errors import InputError
from thresher.outputs import logits_of, outputs_of
from thresher.proxies.models.checkpoints import torchvision_weights
from thresher.proxies.models.checkpoints.labels import match
from thresher.proxies.models.fits import check_fits
from thresher.proxies.models.spec import build_model, model_spec
from thresher.proxies.models.weights import open_model, read_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.single import train


def pool_of(path, *, size=8, channels=3, classes=("cat", "dog"), n=12):
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, channels)).astype(np.uint8)
    labels = np.arange(n) % len(classes)

    def write(draft):
        for name, array in {"images": images, "labels": labels}.items():
            with draft.file(f"{name}.npy") as file:
                np.save(file, array)
        with draft.file("examples.parquet") as file:
            pq.write_table(pa.table({"id": [f"i{i}" for i in range(n)], "domain": [""] * n}), file)
        return {"num_examples": n, "classes": list(classes)}

    config = {"size": size, "channels": channels, "classes": list(classes)}
    return ImageExamples(build(path, kind="image-examples", config=config, seed=0, inputs={}, write=write))


def preprocessor(folder, **settings):
    usual = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": 8, "width": 8},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(usual | settings))


@pytest.mark.parametrize(
    ("made_for", "given", "words"),
    [
        ({"size": 32, "patch": 8}, {"size": 16}, r"16 x 16.*made for 32 x 32; prepare it with --size 32"),
        ({"channels": 1}, {}, "images of 3 channels, but model .* was made for 1"),
        ({"labels": ("a", "b", "c")}, {}, r"class 'cat' of the examples is none of the 3 labels .*\(a, b, c\)"),
        ({"labels": ("Cat", "Dog")}, {}, r"class 'cat' .*\(nearest: 'Cat'\)"),
        (
            {"labels": ("LABEL_0", "LABEL_1", "LABEL_2")},
            {},
            "2 classes, but .* has 3 labels, which its id2label does not",
        ),
        ({}, {"classes": ("0", "5")}, "class 5, but .* has 2 labels, from 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_numbers(made_for, given, words, tmp_path):
    vit(tmp_path / "vit", **made_for)
    pool = pool_of(tmp_path / "pool", **given)
    with pytest.raises(InputError, match=words) as caught:
        check_fits(model_spec(f"hf:{tmp_path / 'vit'}", pool), pool)
    assert "\n" not in str(caught.value)


def test_classes_are_matched_by_name_number_or_where_there_are_no_names_by_position():
    assert match("m", ["dog", "cat", "cow"], ["cat", "dog"])["label_order"] == [1, 0]
    assert match("m", ["negative", "positive"], ["1", "0"])["label_order"] == [1, 0]
    assert match("m", ["crane", "dog", "crane"], ["dog"])["label_order"] == [1]
    with pytest.raises(InputError, match=r"class 'crane' .*stands for 2 of its labels"):
        match("m", ["crane", "dog", "crane"], ["crane", "dog"])
    assert match("m", ["1", "0"], ["0", "1"])["label_order"] == [1, 0]  # names that are numbers are names
    found = match("m", ["LABEL_0", "LABEL_1"], ["cat", "dog"])
    assert found["label_order"] == [0, 1] and "position" in found["labels_by"]


@pytest.mark.parametrize("train_first", [False, True])
def test_the_same_names_in_another_order_give_each_example_the_logit_of_its_class(train_first, tmp_path):
    vit(tmp_path / "vit", labels=("dog", "cow", "cat"))
    pool = pool_of(tmp_path / "pool", classes=("cat", "dog"))
    spec = model_spec(f"hf:{tmp_path / 'vit'}", pool)
    path = tmp_path / "vit"
    if train_first:
        config = TrainConfig.for_vision(steps=2, batch_size=4)
        made = train(spec, pool, out=tmp_path / "trained", config=config, seed=0, device="cpu")
        assert made.facts["labels_by"] == "name"
        path = made.path
    from transformers import AutoModelForImageClassification

    plain = AutoModelForImageClassification.from_pretrained(path).eval()  # in the checkpoint's own order
    batch = pool.batch(np.arange(4))
    theirs = plain(pixel_values=batch["pixel_values"]).logits
    ours = logits_of(open_model(path, pool), batch)
    torch.testing.assert_close(ours, theirs[:, [2, 0, 1]])
    loss = outputs_of(ours, batch["labels"]).loss
    expected = nn.functional.cross_entropy(theirs, torch.tensor([2, 0, 2, 0]), reduction="none")
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
        {"do_normalize": False},
        {"do_normalize": False, "do_rescale": False},
        {"image_mean": [10.0, 20.0, 30.0], "image_std": [2.0, 3.0, 4.0], "do_rescale": False},
    ],
)
def test_pixels_are_prepared_as_the_checkpoint_s_own_processor_does(settings, tmp_path):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder = vit(tmp_path / "vit", labels=("cat", "dog"))
    preprocessor(folder, **settings)
    pool = pool_of(tmp_path / "pool")
    processor = AutoImageProcessor.from_pretrained(folder)
    wanted = processor(images=list(np.array(pool.images[:4])), return_tensors="pt", input_data_format="channels_last")
    plain = AutoModelForImageClassification.from_pretrained(folder).eval()
    expected = plain(pixel_values=wanted["pixel_values"].float()).logits
    for model in (open_model(folder, pool), build_model(model_spec(f"hf:{folder}", pool), 0).eval()):
        torch.testing.assert_close(logits_of(model, pool.batch(np.arange(4))), expected, rtol=1e-4, atol=1e-5)
    assert "ViTImageProcessor" in read_spec(folder, pool)["inputs"]["pixels"]


def test_a_trained_checkpoint_goes_on_preparing_pixels(tmp_path):
    folder = vit(tmp_path / "vit", labels=("cat", "dog"))
    preprocessor(folder, image_mean=[0.2, 0.3, 0.4], image_std=[0.5, 0.6, 0.7])
    pool = pool_of(tmp_path / "pool")
    config = TrainConfig.for_vision(steps=1, batch_size=4, learning_rate=1e-12)
    made = train(model_spec(f"hf:{folder}", pool), pool, out=tmp_path / "t", config=config, seed=0, device="cpu")
    batch = pool.batch(np.arange(4))
    torch.testing.assert_close(logits_of(open_model(made.path), batch), logits_of(open_model(folder, pool), batch))
    assert "ViTImageProcessor" in made.facts["pixels"]


def test_a_processor_s_size_counts_where_the_configuration_has_none(tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], id2label={0: "cat", 1: "dog"})
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    preprocessor(tmp_path / "resnet", size={"shortest_edge": 24}, crop_size={"height": 20, "width": 20})
    pool = pool_of(tmp_path / "pool")
    with pytest.raises(InputError, match=r"8 x 8, but .* was made for 24 x 24; prepare it with --size 24"):
        check_fits(model_spec(f"hf:{tmp_path / 'resnet'}", pool), pool)


def test_weights_of_a_file_are_torchvision_s_own(tmp_path):
    from torchvision import models

    torch.manual_seed(0)
    original = models.mobilenet_v3_small(num_classes=2).eval()
    pool = pool_of(tmp_path / "pool", size=32, classes=("0", "1"))
    batch = pool.batch(np.arange(4))
    files = {"plain.pth": original.state_dict(), "half.pt": original.half().state_dict()}
    torch.save({"state_dict": {f"module.{k}": v for k, v in original.state_dict().items()}}, tmp_path / "wrapped.pth")
    for name, tensors in files.items():
        torch.save(tensors, tmp_path / name)
    original.float()
    save_file(original.state_dict(), tmp_path / "tensors.safetensors")
    for name in ("plain.pth", "wrapped.pth", "half.pt", "tensors.safetensors"):
        model = open_model(f"torchvision:mobilenet_v3_small@{tmp_path / name}", pool)
        assert {value.dtype for value in model.parameters()} == {torch.float32}
        torch.testing.assert_close(logits_of(model, batch), original(batch["pixel_values"]), rtol=1e-2, atol=1e-3)


def test_a_file_under_torchvision_s_own_name_is_prepared_and_labelled_as_it_says(tmp_path):
    from torchvision import models

    weights = models.ResNet18_Weights.IMAGENET1K_V1
    file = tmp_path / weights.url.rpartition("/")[2]
    torch.manual_seed(0)
    original = models.resnet18().eval()
    torch.save(original.state_dict(), file)
    classes = (weights.meta["categories"][7], weights.meta["categories"][3])
    pool = pool_of(tmp_path / "pool", size=224, classes=classes, n=4)
    spec = model_spec(f"torchvision:resnet18@{file}", pool, trained=True)
    assert spec["label_order"] == [7, 3] and spec["image_shape"] == [3, 224, 224]
    ours = logits_of(open_model(spec["name"], pool), pool.batch([0, 1]))
    # Its transform resizes to 256 and cuts 224 out; what is done to a pixel is the same.
    means, spreads = (
        torch.tensor(values)[:, None, None] for values in (weights.transforms().mean, weights.transforms().std)
    )
    prepared = (torch.from_numpy(np.array(pool.images[:2])).permute(0, 3, 1, 2) / 255 - means) / spreads
    torch.testing.assert_close(ours[:, :2], original(prepared)[:, [7, 3]], rtol=1e-3, atol=1e-3)
    assert ours.shape == (2, 1000)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchvision:resnet17", r"no model 'resnet17' of images \(nearest: 'resnet1"),
        ("torchvision:resnet18@missing.pth", "does not exist or is no file"),
        ("torchvision:resnet18@pickle.pth", "no file of weights alone"),
        ("torchvision:resnet18@other.pth", "has no tensor fc.bias, so it is not of resnet18"),
        ("torchvision:vit_b_16", r"fails on images \[2, 3, 8, 8\]"),
    ],
)
def test_unusable_torchvision_names_are_refused_in_one_line(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(2, 3), "pickle.pth")
    torch.save(nn.Linear(2, 3).state_dict(), "other.pth")
    pool = pool_of(tmp_path / "pool")
    with pytest.raises(InputError, match=words) as caught:
        build_model(model_spec(name, pool), 0)
    assert "\n" not in str(caught.value)


def test_a_file_that_changed_is_refused(tmp_path):
    from torchvision import models

    pool, file = pool_of(tmp_path / "pool", size=32), tmp_path / "w.pth"
    torch.save(models.mobilenet_v3_small(num_classes=2).state_dict(), file)
    spec = model_spec(f"torchvision:mobilenet_v3_small@{file}", pool)
    torch.save(models.mobilenet_v3_small(num_classes=2).state_dict(), file)
    with pytest.raises(InputError, match="has changed since it was described"):
        torchvision_weights.load_described(spec)


def test_a_target_with_the_same_classes_in_another_order_is_refused(tmp_path):
    pool = pool_of(tmp_path / "pool", classes=("cat", "dog"))
    target = pool_of(tmp_path / "target", classes=("dog", "cat"))
    spec = model_spec("mlp-8x1", pool)
    check_fits(spec, pool)
    with pytest.raises(InputError, match=r"another order of them.*prepare it with --classes cat dog"):
        check_fits(spec, target)
    with pytest.raises(InputError, match=r"images of 16 x 16, but .* made for 8 x 8"):
        check_fits(spec, pool_of(tmp_path / "large", size=16))
