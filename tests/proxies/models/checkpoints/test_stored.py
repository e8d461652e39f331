"""Weights stored in any precision are held, trained, saved and attributed in float32; quantised ones are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.proxies.models.checkpoint_cases import DECODER, VOCABULARY, save, seeded
from thresher.errors import InputError
from thresher.outputs import logits_of
from thresher.proxies.models.spec import build_model, model_spec
from thresher.proxies.models.weights import open_model
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.single import train

CONFIG = TrainConfig.for_language(batch_size=32, steps=5, learning_rate=1e-5, precision="float32")


def llama():
    return seeded(LlamaForCausalLM, LlamaConfig(**DECODER)).to(torch.bfloat16)


def half_own(*, vocab_size, sequence_length):
    torch.manual_seed(3)
    model = nn.Module()
    model.table, model.head = nn.Embedding(vocab_size, 8), nn.Linear(8, vocab_size)
    model.register_buffer("scale", torch.tensor(0.3))
    model.forward = lambda input_ids: model.head(model.table(input_ids) * model.scale)
    return model.half()


@pytest.mark.parametrize("prefix", ["hf:", "lora-2:hf:"])
def test_a_half_precision_checkpoint_trains_as_the_same_numbers_in_float32_do(prefix, text, tmp_path):
    moved = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        folder = save(llama().to(dtype), tmp_path / str(dtype))
        assert next(iter(load_file(folder / "model.safetensors").values())).dtype == dtype
        out = tmp_path / f"trained-{dtype}"
        made = train(model_spec(f"{prefix}{folder}", text), text, out=out, config=CONFIG, seed=1, device="cpu")
        name = "adapter_model.safetensors" if "lora" in prefix else "model.safetensors"
        moved[dtype] = load_file(out / name)
        assert made.facts["weights"] == {"stored": str(dtype).removeprefix("torch."), "held": "float32"}
        assert {value.dtype for value in moved[dtype].values()} == {torch.float32}
    # bfloat16's numbers are float32's exactly; float16's are, too, but for the smallest.
    for key, value in moved[torch.float32].items():
        torch.testing.assert_close(value, moved[torch.bfloat16][key], rtol=0, atol=0)


def test_a_checkpoint_in_float32_whose_configuration_says_bfloat16_is_not_rounded(text, tmp_path):
    model = seeded(LlamaForCausalLM, LlamaConfig(**DECODER))
    save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}))
    for opened in (open_model(tmp_path, text), build_model(model_spec(f"hf:{tmp_path}", text), 0).eval()):
        assert torch.equal(logits_of(opened, text.batch([0, 3])), logits_of(model, text.batch([0, 3])))


def test_a_mixture_of_precisions_is_held_in_float32_and_said(text, tmp_path):
    save(llama(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    mixed = {name: value.float() if "norm" in name else value for name, value in tensors.items()}
    save_file(mixed, tmp_path / "model.safetensors", {"format": "pt"})
    assert model_spec(f"hf:{tmp_path}", text)["stored"] == "bfloat16 and float32"
    assert {value.dtype for value in open_model(tmp_path, text).parameters()} == {torch.float32}


def test_a_function_of_one_s_own_may_return_any_precision(text, tmp_path):
    spec = model_spec(f"{__name__}:half_own", text)
    model = build_model(spec, 0)
    assert {value.dtype for value in [*model.parameters(), *model.buffers()]} == {torch.float32}
    made = train(spec, text, out=tmp_path / "own", config=CONFIG, seed=1, device="cpu")
    assert made.facts["weights"] == {"stored": "float16", "held": "float32"}


def test_quantised_weights_are_refused_by_name(text, tmp_path):
    save(llama(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    for dtype, word in ((torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8")):
        save_file(tensors | {name: tensors[name].to(dtype)}, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=rf"tensor {name} is stored as {word}, quantised"):
            model_spec(f"hf:{tmp_path}", text)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    quantised = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config | quantised))
    with pytest.raises(InputError, match=r"is quantised \(gptq\)"):
        model_spec(f"hf:{tmp_path}", text)


def test_a_weight_that_is_not_finite_is_refused_by_name(text, tmp_path):
    save(llama(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 of the 16 numbers in model.norm.weight are not finite"):
        open_model(tmp_path, text)


assert VOCABULARY == 131  # of the pool in conftest.py
