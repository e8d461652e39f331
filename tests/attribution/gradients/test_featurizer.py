"""Features against per-example autograd on whole models, and what must not change them."""

import weakref

import pytest
import torch
import torchvision
import transformers
from torch import nn

from thresher.attribution.gradients.featurizer import Featurizer
from thresher.errors import InputError
from thresher.outputs import logits_of, outputs_of


def exact_gradients(model, batch, output="margin"):
    """[b, P] by one backward pass an example, in `named_parameters()` order."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    for i in range(len(batch["labels"])):
        single = {name: value[[i]] for name, value in batch.items()}
        value = getattr(outputs_of(logits_of(model, single), single["labels"]), output).sum()
        gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


def shake(model):
    """Weights in float64 that no rule could get right by luck: norms away from 1, biases away from 0."""
    generator = torch.Generator().manual_seed(11)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer += 0.5 * torch.rand(buffer.shape, generator=generator)
    return model.double().eval()


def language_batch(b=4, t=7, vocabulary=23):
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, vocabulary, (b, t), generator=generator)
    labels = tokens.clone()
    labels[1, :3] = -100
    labels[2, 5:] = -100
    return {"input_ids": tokens, "labels": labels}


def image_batch(b=3, channels=3, size=32, classes=5):
    generator = torch.Generator().manual_seed(6)
    images = torch.randn(b, channels, size, size, generator=generator).double()
    return {"pixel_values": images, "labels": torch.randint(0, classes, (b,), generator=generator)}


def gpt2(tied=True):
    config = transformers.GPT2Config(
        vocab_size=23, n_positions=16, n_embd=12, n_layer=2, n_head=3, tie_word_embeddings=tied
    )
    return transformers.AutoModelForCausalLM.from_config(config)


def llama():
    config = transformers.LlamaConfig(
        vocab_size=23, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, max_position_embeddings=16, pad_token_id=0,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


def gpt_neox():
    config = transformers.GPTNeoXConfig(
        vocab_size=23, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=16,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


def vit():
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, hidden_size=12, intermediate_size=20, num_hidden_layers=2,
        num_attention_heads=3, num_labels=5,
    )  # fmt: skip
    return transformers.AutoModelForImageClassification.from_config(config)


LANGUAGE = {"gpt2": gpt2, "gpt2 untied": lambda: gpt2(tied=False), "llama": llama, "gpt-neox": gpt_neox}


@pytest.mark.parametrize("name", LANGUAGE)
@pytest.mark.parametrize("output", ["margin", "loss"])
def test_language_model_gradients_equal_autograd(name, output) -> None:
    torch.manual_seed(0)
    model, batch = shake(LANGUAGE[name]()), language_batch()
    with Featurizer(model, projection="identity", output=output) as featurize:
        features, outputs = featurize(batch)
        assert "fallback" not in featurize.coverage.values()
    torch.testing.assert_close(features, exact_gradients(model, batch, output))
    assert features.shape == (4, featurize.num_features)
    assert outputs.margin.shape == (4,) and not outputs.margin.requires_grad


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "mobilenet_v2"])
def test_torchvision_gradients_equal_autograd(name) -> None:
    torch.manual_seed(0)
    model, batch = torchvision.models.get_model(name, num_classes=5).double().eval(), image_batch()
    with Featurizer(model, projection="identity") as featurize:
        features = featurize(batch).features
        assert "fallback" not in featurize.coverage.values()
    torch.testing.assert_close(features, exact_gradients(model, batch), rtol=1e-6, atol=1e-9)


def test_vit_gradients_equal_autograd() -> None:
    torch.manual_seed(0)
    model, batch = shake(vit()), image_batch(size=16)
    with Featurizer(model, projection="identity") as featurize:
        features = featurize(batch).features
    torch.testing.assert_close(features, exact_gradients(model, batch))


@pytest.mark.parametrize("projection", ["two-sided", "sjlt"])
def test_rows_do_not_depend_on_batch_size_order_or_padding(projection) -> None:
    torch.manual_seed(0)
    model, batch = shake(gpt2()), language_batch(b=9)
    with Featurizer(model, projection=projection, k=64) as featurize:
        whole, outputs = featurize(batch)
        for size in (1, 2, 7):
            parts = [featurize({name: value[i : i + size] for name, value in batch.items()}) for i in range(0, 9, size)]
            torch.testing.assert_close(torch.cat([part.features for part in parts]), whole)
            torch.testing.assert_close(torch.cat([part.outputs.margin for part in parts]), outputs.margin)
        order = torch.tensor([3, 8, 0, 1, 7, 2, 6, 5, 4])
        shuffled = featurize({name: value[order] for name, value in batch.items()})
        torch.testing.assert_close(shuffled.features, whole[order])
        padded = {
            "input_ids": nn.functional.pad(batch["input_ids"], (0, 4), value=3),
            "labels": nn.functional.pad(batch["labels"], (0, 4), value=-100),
        }
        torch.testing.assert_close(featurize(padded).features, whole)


def test_the_first_batch_does_not_decide_what_later_ones_get() -> None:
    torch.manual_seed(0)
    model, batch = shake(gpt2()), language_batch(b=9)
    blank = {"input_ids": batch["input_ids"], "labels": torch.full_like(batch["labels"], -100)}
    with Featurizer(model, k=64) as fresh, Featurizer(model, k=64) as after_blank:
        assert not after_blank(blank).features.any()
        torch.testing.assert_close(after_blank(batch).features, fresh(batch).features)
        one = {name: value[:1] for name, value in batch.items()}
    with Featurizer(model, k=64) as after_one:
        torch.testing.assert_close(after_one(one).features[0], fresh_row(model, batch))
        torch.testing.assert_close(after_one(batch).features[0], fresh_row(model, batch))


def fresh_row(model, batch):
    with Featurizer(model, k=64) as featurize:
        return featurize(batch).features[0]


class Expert(nn.Module):
    """Mixes examples for some inputs only, as a mixture of experts does when it gathers tokens."""

    def __init__(self):
        super().__init__()
        self.first, self.gathered, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        routed = hidden[:, 0] > 0
        return self.head(
            hidden + torch.zeros_like(hidden).masked_scatter(routed[:, None], self.gathered(hidden[routed]))
        )


def test_a_layer_that_stops_seeing_whole_batches_is_moved_to_the_fallback() -> None:
    torch.manual_seed(0)
    model = shake(Expert())
    images = torch.randn(12, 6).double()
    routed = torch.tanh(model.first(images))[:, 0] > 0
    order = torch.cat([routed.nonzero()[:3, 0], (~routed).nonzero()[:2, 0]])
    batch = {"pixel_values": images[order], "labels": torch.arange(5) % 4}
    some = {name: value[:3] for name, value in batch.items()}
    with Featurizer(model, projection="identity") as featurize:
        torch.testing.assert_close(featurize(some).features, exact_gradients(model, some))
        assert featurize.coverage["gathered.weight"] == "linear"
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert featurize.coverage["gathered.weight"] == "fallback"


def test_bf16_passes_are_close_to_float32() -> None:
    torch.manual_seed(0)
    model, batch = gpt2(), language_batch()
    with Featurizer(model, k=64) as exact, Featurizer(model, k=64, precision="bf16") as rough:
        true, found = exact(batch).features, rough(batch).features
        assert "fallback" not in rough.coverage.values()
    assert found.dtype == torch.float32
    assert 0 < (found - true).norm() < 0.05 * true.norm()


def test_fp16_passes_are_close_to_float32_or_refused() -> None:
    torch.manual_seed(0)
    model, batch = gpt2(), language_batch()
    # As small as a mean over a thousand tokens and a large vocabulary makes them: unscaled they vanish in float16.
    batch["input_ids"], batch["labels"] = batch["input_ids"].repeat(1, 2), batch["labels"].repeat(1, 2)
    try:
        rough = Featurizer(model, k=64, precision="fp16")
    except InputError as error:
        assert str(error) == "precision fp16 does not work on cpu here; pass float32"
        return
    with Featurizer(model, k=64) as exact, rough:
        true, found = exact(batch).features, rough(batch).features
        assert "fallback" not in rough.coverage.values()
    assert found.dtype == torch.float32
    assert 0 < (found - true).norm() < 0.02 * true.norm()


def resnet(width=4, classes=5):
    block = lambda m, n: [nn.Conv2d(m, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU(inplace=True)]  # noqa: E731
    return nn.Sequential(*block(3, width), *block(width, 2 * width), nn.Flatten(), nn.Linear(2 * width * 64, classes))


def folded(featurize):
    return [pair.convolution for pair in featurize.engine._capture._pairs]


def test_convolutions_are_folded_with_their_norms_and_models_left_as_they_were() -> None:
    torch.manual_seed(0)
    model, batch = shake(resnet()), image_batch(size=8)
    before = model(batch["pixel_values"])
    with Featurizer(model, projection="identity") as featurize:
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert folded(featurize) == [model[0], model[3]]
        assert torch.equal(model(batch["pixel_values"]), before)
        with torch.no_grad():  # a model that changed meanwhile is folded anew
            model[0].weight *= 1.5
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        with torch.no_grad():  # or no longer
            model[1].weight[1] = 0.0
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert folded(featurize) == [model[3]]


class Looks(nn.Module):
    """Uses what is between the convolution and the norm, too."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        between = self.convolution(x)
        return self.head((torch.tanh(self.norm(between)) + between.detach().square()).mean(dim=(2, 3)))


def test_a_convolution_that_something_else_looks_at_is_not_folded() -> None:
    torch.manual_seed(0)
    model, batch = shake(Looks()), image_batch(size=8)
    with Featurizer(model, projection="identity") as featurize:
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert folded(featurize) == [] and "fallback" not in featurize.coverage.values()


def test_a_norm_that_something_leaky_changes_in_place_is_not_folded() -> None:
    torch.manual_seed(0)
    model, batch = shake(resnet()), image_batch(size=8)
    model[2] = nn.LeakyReLU(0.3, inplace=True)
    with Featurizer(model, projection="identity") as featurize:
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert "fallback" not in featurize.coverage.values()


def test_a_norm_with_a_vanishing_weight_is_not_folded() -> None:
    torch.manual_seed(0)
    model, batch = shake(resnet()), image_batch(size=8)
    model[1].weight.data[0] = 0.0
    with Featurizer(model, projection="identity") as featurize:
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert folded(featurize) == [model[3]]


def test_a_wrong_regular_expression_is_refused() -> None:
    with pytest.raises(InputError, match="no regular expression"):
        Featurizer(nn.Linear(3, 2), parameters="(")


def test_a_batch_leaves_nothing_behind_in_memory():
    """Hooks on the graph that hold the graph would keep every batch's activations for good."""
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.Linear(7, 3))
    batch = {"pixel_values": torch.randn(4, 5), "labels": torch.tensor([0, 1, 2, 0])}
    left = []
    with Featurizer(model, k=8) as featurize:
        for layer in model:  # after the featurizer's own hooks: what they made of the output
            layer.register_forward_hook(lambda module, args, output: left.append(weakref.ref(output)))
        for _ in range(3):
            featurize(batch)
    assert len(left) >= 9
    assert all(reference() is None for reference in left)
