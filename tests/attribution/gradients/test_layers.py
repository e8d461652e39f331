"""Each kind of layer, and each way of using one, against per-example autograd (float64, nothing projected)."""

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

from tests.attribution.cases import exact_gradients
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.errors import InputError


def shake(model):
    """Norms away from 1 and statistics away from 0 and 1, so that no rule is right by luck."""
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer += 0.5 * torch.rand_like(buffer)
    return model.double().eval()


def check(model, pixel_values, num_classes, **options):
    """The coverage, once the features of a batch were found to be its exact gradients."""
    batch = {"pixel_values": pixel_values, "labels": torch.arange(len(pixel_values)) % num_classes}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with Featurizer(model, projection="identity", **options) as featurize:
        features = featurize(batch).features
        torch.testing.assert_close(features, exact_gradients(model, batch), rtol=1e-7, atol=1e-10)
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
        assert all(parameter.grad is None for parameter in model.parameters())
        return featurize.coverage


def flat_head(features, classes=4):
    return [nn.Flatten(), nn.Linear(features, classes)]


IMAGE_NETS = {
    "plain": lambda: [nn.Conv2d(3, 5, 3), *flat_head(5 * 5 * 6)],
    "stride, padding, dilation": lambda: [
        nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        *flat_head(5 * 4 * 10),
    ],
    "same": lambda: [nn.Conv2d(3, 5, (5, 3), padding="same", dilation=(1, 2)), *flat_head(5 * 7 * 8)],
    "circular": lambda: [nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular"), *flat_head(5 * 7 * 8)],
    "groups": lambda: [nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, groups=2, padding=1, stride=2), *flat_head(4 * 4 * 4)],
    "depthwise": lambda: [nn.Conv2d(3, 6, 3, groups=3, bias=False), *flat_head(6 * 5 * 6)],
    "in-place after the first layer": lambda: [nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), *flat_head(5 * 5 * 6)],
    "batch norm": lambda: [
        nn.Conv2d(3, 5, 3, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        *flat_head(5 * 5 * 6),
    ],
    "batch norm first": lambda: [nn.BatchNorm2d(3), nn.ReLU(inplace=True), *flat_head(3 * 7 * 8)],
    "group norm": lambda: [nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Tanh(), *flat_head(6 * 5 * 6)],
    "layer norm over a plane": lambda: [nn.Conv2d(3, 2, 3), nn.LayerNorm([5, 6]), nn.Tanh(), *flat_head(2 * 5 * 6)],
    "linear on a plane": lambda: [nn.Linear(8, 5), nn.Tanh(), *flat_head(3 * 7 * 5)],
}


@pytest.mark.parametrize("name", IMAGE_NETS)
def test_image_layers_equal_autograd(name) -> None:
    torch.manual_seed(0)
    coverage = check(shake(nn.Sequential(*IMAGE_NETS[name]())), torch.randn(5, 3, 7, 8).double(), 4)
    assert "fallback" not in coverage.values()


VECTOR_NETS = {
    "mlp": lambda: [nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4, bias=False)],
    "batch norm": lambda: [nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 4)],
    "layer norm without bias": lambda: [nn.Linear(6, 7), nn.LayerNorm(7, bias=False), nn.Linear(7, 4)],
    "rms norm": lambda: [nn.Linear(6, 7), nn.RMSNorm(7), nn.Linear(7, 4)],
    "rms norm of llama": lambda: [nn.Linear(6, 7), LlamaRMSNorm(7), nn.Linear(7, 4)],
    "conv1d of transformers": lambda: [Conv1D(7, 6), nn.Tanh(), nn.Linear(7, 4)],
    "conv1d": lambda: [
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2, stride=2, padding=1, dilation=2), nn.Tanh(), *flat_head(4 * 2),
    ],
    "conv1d in groups": lambda: [
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2, groups=2), nn.BatchNorm1d(4), *flat_head(4 * 2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", VECTOR_NETS)
def test_vector_layers_equal_autograd(name) -> None:
    torch.manual_seed(0)
    coverage = check(shake(nn.Sequential(*VECTOR_NETS[name]())), torch.randn(5, 6).double(), 4)
    assert "fallback" not in coverage.values()


class Words(nn.Module):
    """Embeddings with a padding index, and positions looked up once for the batch, as nanoGPT does."""

    def __init__(self, tied):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 6, padding_idx=3), nn.Embedding(9, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, input_ids):
        hidden = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        return self.head(torch.tanh(self.mix(hidden)) + hidden)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("num_examples", [4, 7])  # 7: as many as positions
def test_embeddings_equal_autograd(tied, num_examples) -> None:
    torch.manual_seed(0)
    model = shake(Words(tied))
    tokens = torch.randint(0, 11, (num_examples, 7))
    tokens[0, :3] = 3
    batch = {"input_ids": tokens, "labels": tokens}
    with Featurizer(model, projection="identity") as featurize:
        torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch))
        assert "fallback" not in featurize.coverage.values()


class Odd(nn.Module):
    """Layers and parameters used in ways that hooks on layers cannot see, or see wrongly."""

    def __init__(self):
        super().__init__()
        self.twice, self.aside = nn.Linear(6, 6), nn.Linear(6, 6)
        self.gain, self.shift = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(1, 6))
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        x = x + nn.functional.linear(x, self.aside.weight) + self.aside(x)
        return self.head(x * self.gain + self.shift)


def test_what_hooks_cannot_see_goes_to_the_fallback_and_is_exact() -> None:
    torch.manual_seed(0)
    coverage = check(shake(Odd()), torch.randn(5, 6).double(), 4)
    assert coverage["twice.weight"] == coverage["aside.bias"] == "linear"
    assert coverage["aside.weight"] == "fallback"
    assert len(coverage) == len(list(Odd().parameters()))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 9, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.layer(x).mean(dim=1))


def test_fused_attention_of_torch_is_exact() -> None:
    torch.manual_seed(0)
    coverage = check(shake(Attention()), torch.randn(5, 3, 6).double(), 4)
    assert coverage["layer.self_attn.in_proj_weight"] == coverage["layer.self_attn.out_proj.weight"] == "fallback"
    assert coverage["layer.linear1.weight"] == "linear" and coverage["layer.norm2.bias"] == "layer norm"


class Branching(nn.Module):
    """Looks at its values, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.gain, self.head = nn.Parameter(torch.ones(3, 2)), nn.Linear(2, 4)

    def forward(self, x):
        return self.head(x @ self.gain if float(x.sum()) > -1e9 else x[:, :2])


def test_a_model_that_vmap_refuses_is_exact_one_example_at_a_time() -> None:
    torch.manual_seed(0)
    assert check(shake(Branching()), torch.randn(5, 3).double(), 4)["gain"] == "fallback"


def test_frozen_and_unmatched_parameters_are_left_out() -> None:
    torch.manual_seed(0)
    model = shake(nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4)))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    coverage = check(model, torch.randn(5, 6).double(), 4)
    assert list(coverage) == ["2.weight", "4.weight", "4.bias"]
    with Featurizer(model, projection="identity", parameters=r"\.weight$") as featurize:
        assert list(featurize.coverage) == ["2.weight", "4.weight"]
    with pytest.raises(InputError, match=r"no trainable parameter matches '\^head'; names look like: 0.weight"):
        Featurizer(model, parameters="^head")


def test_a_tied_parameter_is_matched_by_any_of_its_names() -> None:
    with Featurizer(Words(tied=True), parameters="^head") as featurize:
        assert list(featurize.coverage) == ["words.weight"]


def test_the_model_works_as_before_once_closed() -> None:
    torch.manual_seed(0)
    model, x = shake(nn.Sequential(*VECTOR_NETS["mlp"]())), torch.randn(5, 6).double()
    before = model(x)
    check(model, x, 4)
    assert torch.equal(model(x), before) and model(x).requires_grad
    assert not any(module._forward_hooks for module in model.modules())
