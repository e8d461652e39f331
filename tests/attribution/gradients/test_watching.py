"""Layers that are subclasses with a forward pass of their own, and whole models made of them, against autograd."""

import pytest
import torch
import transformers as hf
from torch import nn

from tests.attribution.cases import exact_gradients
from tests.proxies.models.checkpoint_cases import DECODER, ENCODER, EXPERTS, GPT2, SEQ2SEQ, seeded
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.attribution.gradients.watching import base_of
from thresher.devices import full_float32

RECURRENT = {"vocab_size": 131, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
LLAMA_LIKE = ("Llama", "Gemma", "Gemma2", "Qwen2", "Qwen3", "Phi", "Phi3", "StableLm", "Olmo2", "Cohere", "Nemotron")
MODELS = {
    "OPT": lambda: hf.OPTConfig(**ENCODER, ffn_dim=24, word_embed_proj_dim=12),
    "BART": lambda: hf.BartConfig(**SEQ2SEQ, is_decoder=True, is_encoder_decoder=False),
    "Pegasus, sinusoidal": lambda: hf.PegasusConfig(**SEQ2SEQ, is_decoder=True, is_encoder_decoder=False),
    "XGLM, sinusoidal and scaled": lambda: hf.XGLMConfig(
        vocab_size=131, d_model=16, num_layers=2, attention_heads=2, ffn_dim=24, max_position_embeddings=32
    ),
    "BioGPT": lambda: hf.BioGptConfig(**ENCODER),
    "GPT-2": lambda: hf.GPT2Config(**GPT2),
    "GPT-J": lambda: hf.GPTJConfig(**GPT2, rotary_dim=4),
    "GPT-BigCode": lambda: hf.GPTBigCodeConfig(**GPT2),
    "BLOOM, ALiBi": lambda: hf.BloomConfig(vocab_size=131, hidden_size=16, n_layer=2, n_head=2),
    "Falcon": lambda: hf.FalconConfig(vocab_size=131, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "MPT": lambda: hf.MptConfig(vocab_size=131, d_model=16, n_layers=2, n_heads=2, max_seq_len=32),
    "BERT as a decoder": lambda: hf.BertConfig(**ENCODER, is_decoder=True),
    "Mixtral, experts": lambda: hf.MixtralConfig(**DECODER, **EXPERTS),
    "Mamba": lambda: hf.MambaConfig(**RECURRENT),
    "Mamba 2": lambda: hf.Mamba2Config(**RECURRENT, num_heads=4, head_dim=8, n_groups=1),
} | {
    name: (lambda name=name: getattr(hf, f"{name}Config")(**DECODER, **({"head_dim": 8} if "Gemma" in name else {})))
    for name in LLAMA_LIKE
}
# What no rule reaches, by a part of the parameters' names; of all others nothing may go the slow way.
SLOW = {
    "Falcon": "dense|query_key_value",
    "Cohere": "norm",
    "Nemotron": "norm",
    "Mixtral, experts": "mlp",
    "Mamba": "mixer",
    "Mamba 2": "mixer|norm",
    "BERT as a decoder": "predictions.bias",
    "BART": "encoder_attn",
    "Pegasus, sinusoidal": "encoder_attn",
}


def text_batch():
    torch.manual_seed(1)
    tokens = torch.randint(2, 131, (3, 9))
    labels = tokens.clone()
    labels[1, 6:], labels[2, :3] = -100, -100
    return {"input_ids": tokens, "labels": labels}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_every_family_equal_autograd(name) -> None:
    model = seeded(hf.AutoModelForCausalLM.from_config, MODELS[name]())
    batch = text_batch()
    with Featurizer(model, projection="identity") as featurize:
        found = featurize(batch).features
        slow = [key for key, kind in featurize.coverage.items() if kind == "fallback"]
    with full_float32():
        exact = exact_gradients(model, batch)
    assert float((found - exact).norm() / exact.norm()) < 1e-5
    expected = [part for part in SLOW.get(name, "").split("|") if part]
    assert all(any(part in key or "encoder_attn" in key for part in expected) for key in slow)


class Offset(nn.Embedding):
    """Its first argument is no index (OPT's positions)."""

    def forward(self, mask, start=0):
        return super().forward(mask.cumsum(dim=1) - 1 + start)


class Scaled(nn.Embedding):
    def forward(self, tokens):
        return super().forward(tokens) * self.embedding_dim**0.5


class Residual(nn.Linear):
    def forward(self, *, hidden):
        return hidden + super().forward(hidden.tanh()).tanh()


class Shifted(nn.LayerNorm):
    def forward(self, hidden):
        return super().forward(hidden * 2) + hidden


class Twice(nn.Linear):
    def forward(self, hidden):
        return super().forward(super().forward(hidden).tanh())


class OwnWay(nn.Linear):
    """Does not call its base class at all."""

    def forward(self, hidden):
        return hidden @ self.weight.T * 0.5 + self.bias


class Pair(nn.Linear):
    """Gives more than a tensor."""

    def forward(self, hidden):
        return super().forward(hidden), hidden


class RMSNorm(nn.Module):
    """With a second argument, and a residual given back."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, hidden, gate):
        return hidden * hidden.square().mean(-1, keepdim=True).rsqrt() * self.weight * gate.sigmoid(), hidden


class Odd(nn.Module):
    def __init__(self, vocabulary=131, width=8):
        super().__init__()
        self.tokens, self.positions = Scaled(vocabulary, width), Offset(32, width)
        self.residual, self.norm, self.twice = Residual(width, width), Shifted(width), Twice(width, width)
        self.own, self.pair, self.gated = OwnWay(width, width), Pair(width, width), RMSNorm(width)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(width, width))
        self.weighted = nn.utils.parametrizations.weight_norm(nn.Linear(width, width))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, input_ids):
        hidden = self.tokens(input_ids) + self.positions(torch.ones_like(input_ids), start=1)
        hidden = self.norm(self.residual(hidden=hidden))
        hidden, left = self.pair(self.own(self.twice(hidden)))
        hidden, again = self.gated(hidden, left)
        return self.head(self.weighted(self.spectral(hidden + again)))


def test_subclasses_with_other_signatures_equal_autograd_and_are_left_as_they_were() -> None:
    torch.manual_seed(0)
    model = Odd().double().eval()
    batch = text_batch()
    before = model(batch["input_ids"])
    with Featurizer(model, projection="identity") as featurize:
        for _ in range(2):
            torch.testing.assert_close(featurize(batch).features, exact_gradients(model, batch), rtol=1e-7, atol=1e-9)
        kinds = featurize.coverage
    assert kinds["tokens.weight"] == kinds["positions.weight"] == "embedding"
    assert kinds["residual.weight"] == kinds["twice.weight"] == kinds["pair.weight"] == "linear"
    assert kinds["norm.weight"] == "layer norm"
    assert kinds["own.weight"] == kinds["gated.weight"] == "fallback"
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert torch.equal(model(batch["input_ids"]), before)


def test_a_layer_is_watched_only_where_its_forward_pass_is_its_own() -> None:
    assert base_of(Scaled(3, 2)) is nn.Embedding
    assert base_of(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))) is None
    assert base_of(nn.Linear(2, 2)) is None
