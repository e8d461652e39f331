"""Which architectures are taken for what: by name, and by asking the model whether it looks ahead."""

import pytest
import torch
import transformers as hf
from torch import nn

from tests.proxies.models.checkpoint_cases import DECODER, ENCODER, GPT2, SEQ2SEQ, save, seeded
from thresher.errors import InputError
from thresher.outputs import logits_of
from thresher.proxies.models.checkpoints import architecture
from thresher.proxies.models.probe import probe
from thresher.proxies.models.spec import build_model, model_spec, model_width, num_parameters
from thresher.proxies.models.weights import open_model

T5 = {"vocab_size": 131, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
REFUSED = {
    "BertForMaskedLM": lambda: (hf.BertForMaskedLM, hf.BertConfig(**ENCODER)),
    "BertLMHeadModel, with is_decoder": lambda: (hf.BertLMHeadModel, hf.BertConfig(**ENCODER)),
    "BertForPreTraining": lambda: (hf.BertForPreTraining, hf.BertConfig(**ENCODER)),
    "RobertaForMaskedLM, a masked": lambda: (hf.RobertaForMaskedLM, hf.RobertaConfig(**ENCODER)),
    "RobertaForCausalLM, with is_decoder": lambda: (hf.RobertaForCausalLM, hf.RobertaConfig(**ENCODER)),
    "ElectraForMaskedLM": lambda: (hf.ElectraForMaskedLM, hf.ElectraConfig(**ENCODER, embedding_size=8)),
    "ElectraForPreTraining": lambda: (hf.ElectraForPreTraining, hf.ElectraConfig(**ENCODER, embedding_size=8)),
    "T5ForConditionalGeneration, an encoder-decoder": lambda: (hf.T5ForConditionalGeneration, hf.T5Config(**T5)),
    "BartForConditionalGeneration": lambda: (hf.BartForConditionalGeneration, hf.BartConfig(**SEQ2SEQ)),
    "XLNetLMHeadModel, with attn_type": lambda: (
        hf.XLNetLMHeadModel,
        hf.XLNetConfig(vocab_size=131, d_model=16, n_layer=1, n_head=2, d_inner=24),
    ),
    "LlamaForTokenClassification, a classifier of tokens": lambda: (
        hf.LlamaForTokenClassification,
        hf.LlamaConfig(**DECODER),
    ),
    "LlamaForQuestionAnswering": lambda: (hf.LlamaForQuestionAnswering, hf.LlamaConfig(**DECODER)),
    "LlamaForSequenceClassification": lambda: (hf.LlamaForSequenceClassification, hf.LlamaConfig(**DECODER)),
    "1 output": lambda: (hf.GPT2ForSequenceClassification, hf.GPT2Config(**GPT2, num_labels=1)),
    "GPT2DoubleHeadsModel": lambda: (hf.GPT2DoubleHeadsModel, hf.GPT2Config(**GPT2)),
    "CLIPModel, a model that matches": lambda: (
        hf.CLIPModel,
        hf.CLIPConfig(text_config=SMALL, vision_config=SMALL | {"image_size": 8, "patch_size": 4}),
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_causal_language_model_is_refused_by_its_name_in_one_line(words, text, tmp_path):
    save(seeded(*REFUSED[words]()), tmp_path / "checkpoint")
    with pytest.raises(InputError, match=words) as caught:
        model_spec(f"hf:{tmp_path / 'checkpoint'}", text)
    assert "\n" not in str(caught.value)


CAUSAL = {
    "GPT2LMHeadModel": lambda: (hf.GPT2LMHeadModel, hf.GPT2Config(**GPT2)),
    "BertLMHeadModel": lambda: (hf.BertLMHeadModel, hf.BertConfig(**ENCODER, is_decoder=True)),
    "OPTForCausalLM": lambda: (
        hf.OPTForCausalLM,
        hf.OPTConfig(**ENCODER, ffn_dim=24, word_embed_proj_dim=16),
    ),
    "BartForCausalLM": lambda: (hf.BartForCausalLM, hf.BartConfig(**SEQ2SEQ)),
    "BloomForCausalLM": lambda: (
        hf.BloomForCausalLM,
        hf.BloomConfig(vocab_size=131, hidden_size=16, n_layer=1, n_head=2),
    ),
    "MambaForCausalLM": lambda: (
        hf.MambaForCausalLM,
        hf.MambaConfig(vocab_size=131, hidden_size=16, num_hidden_layers=1, state_size=4),
    ),
    "Gemma3ForCausalLM": lambda: (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig(**DECODER, head_dim=8, sliding_window=8)),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_checkpoints_are_opened_and_trained_further_as_they_are(name, text, tmp_path):
    model = seeded(*CAUSAL[name]())
    save(model, tmp_path / "checkpoint")
    batch = text.batch([0, 7])
    for opened in (
        open_model(tmp_path / "checkpoint", text),
        build_model(model_spec(f"hf:{tmp_path / 'checkpoint'}", text), 0).eval(),
    ):
        assert type(opened).__name__ == name
        torch.testing.assert_close(logits_of(opened, batch), logits_of(model, batch))


def test_sizes_are_found_wherever_a_configuration_has_them():
    def sizes(config):
        found = architecture.sizes_of(config)
        return found.width, found.vocab_size, found.sequence_length

    assert sizes(hf.GPT2Config(**GPT2)) == (16, 131, 32)
    assert sizes(hf.MptConfig(vocab_size=131, d_model=24, max_seq_len=48)) == (24, 131, 48)
    assert sizes(hf.BloomConfig(vocab_size=131, hidden_size=16)) == (16, 131, architecture.UNBOUNDED)
    text = hf.Gemma3TextConfig(**DECODER)
    assert sizes(hf.Gemma3Config(text_config=text)) == (16, 131, 32)
    # RoBERTa's positions count from padding_idx + 1 on.
    assert sizes(hf.RobertaConfig(**ENCODER)) == (16, 131, 30)


def test_the_text_part_of_a_nested_checkpoint_is_trained_and_its_tower_for_images_is_not(text, tmp_path):
    inner = hf.Gemma3TextConfig(**DECODER, head_dim=8, sliding_window=8)
    vision = hf.SiglipVisionConfig(**SMALL, image_size=28, patch_size=14)
    tokens = {"mm_tokens_per_image": 4, "image_token_index": 130, "boi_token_index": 129, "eoi_token_index": 128}
    config = hf.Gemma3Config(text_config=inner, vision_config=vision, **tokens)
    save(seeded(hf.Gemma3ForConditionalGeneration, config), tmp_path / "nested")
    spec = model_spec(f"hf:{tmp_path / 'nested'}", text)
    assert (spec["vocab_size"], spec["sequence_length"], model_width(spec)) == (131, 32, 16)
    model = build_model(spec, 0)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained and not any("vision" in name or "multi_modal" in name for name in trained)
    assert num_parameters(model)["trained"] < num_parameters(model)["total"]


class Bidirectional(nn.Module):
    """A mean over all positions, the later ones too."""

    def __init__(self, vocab_size):
        super().__init__()
        self.table, self.head = nn.Embedding(vocab_size, 8), nn.Linear(8, vocab_size)

    def forward(self, input_ids):
        hidden = self.table(input_ids)
        return self.head(hidden + hidden.mean(dim=1, keepdim=True))


class Running(Bidirectional):
    """A mean over the positions so far."""

    def forward(self, input_ids):
        hidden = self.table(input_ids)
        return self.head(hidden.cumsum(dim=1) / torch.arange(1, hidden.shape[1] + 1)[:, None])


def looking_ahead(*, vocab_size, sequence_length):
    return Bidirectional(vocab_size)


def looking_back(*, vocab_size, sequence_length):
    return Running(vocab_size)


def too_narrow(*, vocab_size, sequence_length):
    return Running(vocab_size - 1)


def broken(*, vocab_size, sequence_length):
    return nn.Linear(3, 4)


def test_a_model_of_one_s_own_that_looks_ahead_is_refused_and_one_that_does_not_is_taken(text):
    assert build_model(model_spec(f"{__name__}:looking_back", text), 0).training
    for name, words in {
        "looking_ahead": "looks ahead: when only the last token changes",
        "too_narrow": r"fails on tokens|gives \[2, 12, 130\]",
        "broken": r"fails on tokens \[2, 12\]",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            build_model(model_spec(f"{__name__}:{name}", text), 0)
        assert "\n" not in str(caught.value)


def test_the_check_asks_the_model_not_its_name():
    """A BERT made causal passes, the same weights without the mask do not."""
    spec = {"name": "bert", "task": "language", "vocab_size": 131, "sequence_length": 32}
    probe(seeded(hf.BertLMHeadModel, hf.BertConfig(**ENCODER, is_decoder=True)), spec)
    with pytest.raises(InputError, match="looks ahead"):
        probe(seeded(hf.BertLMHeadModel, hf.BertConfig(**ENCODER, is_decoder=False)), spec)
