"""Adapters beside a checkpoint: they alone are trained, saved and attributed; the checkpoint is pinned by its hash."""

import json

import pytest
import torch
from safetensors.torch import load_file

from thresher.artifacts import build
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.outputs import logits_of, outputs_of
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.spec import build_model, model_spec, num_parameters
from thresher.proxies.models.weights import loaders_of, open_model, read_spec, save_model
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.single import train

pytest.importorskip("peft")
CONFIG = TrainConfig.for_language(batch_size=16, steps=12, learning_rate=1e-2, precision="float32")


@pytest.fixture(params=["gpt2", "llama", "gpt_neox"])
def checkpoint(request, text, tmp_path):
    model = build_model(model_spec(f"{request.param}:60k", text), 5).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def trained(text, checkpoint, out, name="lora-3:hf:", config=CONFIG):
    return train(model_spec(f"{name}{checkpoint}", text), text, out=out, config=config, seed=1, device="cpu")


def test_new_adapters_change_nothing_and_training_moves_them_alone(text, checkpoint, tmp_path):
    batch, before = text.batch([0, 7]), load_file(checkpoint / "model.safetensors")
    model = build_model(model_spec(f"lora:hf:{checkpoint}", text), 3).eval()
    base = open_model(checkpoint)
    torch.testing.assert_close(logits_of(model, batch), logits_of(base, batch))
    assert all("lora_" in name for name, value in model.named_parameters() if value.requires_grad)
    counts = num_parameters(model)
    assert 0 < counts["trained"] < counts["total"] / 2

    made = trained(text, checkpoint, tmp_path / "model")
    assert {file.name for file in made.path.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "spec.json",
        "meta.json",
    }
    assert all("lora_" in name for name in load_file(made.file("adapter_model.safetensors")))
    after = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert evaluate(open_model(made.path), text)["loss"].mean() < evaluate(base, text)["loss"].mean() - 0.05
    assert made.facts["learning_rate"] == 1e-2 and made.facts["num_parameters"]["trained"] < counts["trained"]
    again = trained(text, checkpoint, tmp_path / "again")
    assert again.content_hash == made.content_hash


def test_peft_reads_the_artefact_as_it_is(text, checkpoint, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made, batch = trained(text, checkpoint, tmp_path / "model"), text.batch([0, 7])
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    theirs = PeftModel.from_pretrained(base, str(made.path)).eval()
    torch.testing.assert_close(theirs(input_ids=batch["input_ids"]).logits, logits_of(open_model(made.path), batch))


def test_a_checkpoint_that_changed_is_refused(text, checkpoint, tmp_path):
    made = trained(text, checkpoint, tmp_path / "model")
    assert read_spec(made.path)["rank"] == 3
    other = open_model(checkpoint)
    with torch.no_grad():
        other.get_input_embeddings().weight.add_(1)
    other.save_pretrained(checkpoint)
    with pytest.raises(InputError, match="has changed since it was described"):
        open_model(made.path)


def test_features_are_the_gradients_of_the_adapters(text, checkpoint, tmp_path):
    made = trained(text, checkpoint, tmp_path / "model")
    ((_, load),) = loaders_of([str(made.path)], text)
    model, batch = load(), text.batch([0, 7, 3, 9, 2])
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    with Featurizer(model, projection="identity", k=1) as featurize:
        features, _ = featurize(batch)
        assert set(featurize.coverage) == set(names) and "fallback" not in featurize.coverage.values()
    for row in range(5):
        one = {name: value[[row]] for name, value in batch.items()}
        with full_float32():
            margin = outputs_of(logits_of(model, one), one["labels"]).margin.sum()
            gradients = torch.autograd.grad(margin, [model.get_parameter(name) for name in names])
        assert sum(gradient.numel() for gradient in gradients) == features.shape[1]
        size = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        torch.testing.assert_close(features[row].norm(), size, rtol=1e-4, atol=1e-5)


def test_a_run_in_parts_with_recomputed_activations_is_the_same(text, checkpoint, tmp_path):
    plain = trained(
        text, checkpoint, tmp_path / "plain", config=TrainConfig(steps=4, precision="float32", optimizer="sgd")
    )
    config = TrainConfig(steps=4, precision="float32", optimizer="sgd", accumulate=3, activation_checkpointing=True)
    thrifty = trained(text, checkpoint, tmp_path / "thrifty", config=config)
    one, other = (load_file(made.file("adapter_model.safetensors")) for made in (plain, thrifty))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-6)


def test_unusable_names_are_refused_in_one_line(text, tmp_path, monkeypatch):
    for name in ("lora:0.4M", "lora-0:hf:x", "lora:hf:"):
        with pytest.raises(InputError, match="write lora-8:hf:NAME_OR_FOLDER"):
            model_spec(name, text)
    with pytest.raises(InputError, match="does not exist: there is no such file"):
        model_spec(f"lora:hf:{tmp_path / 'nothing'}", text)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'thresher\[lora\]'"):
        model_spec("lora:hf:gpt2", text)


def test_a_study_finds_the_checkpoint_beside_its_file(tmp_path):
    from thresher.studies.study_file import read_study

    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    (tmp_path / "study.toml").write_text(
        '[pool]\ndata = "p.jsonl"\n[target.t]\ndata = "t.jsonl"\n[reference]\nsize = "lora-8:hf:base"\naccumulate = 4\n'
        "activation_checkpointing = true\n"
    )
    study = read_study(tmp_path / "study.toml")
    assert study.reference.size == f"lora-8:hf:{tmp_path / 'base'}" and study.reference.accumulate == 4
    assert json.dumps(study.reference.activation_checkpointing) == "true"


def test_beside_a_trained_model_they_read_what_it_reads(text, checkpoint, tmp_path):
    spec = model_spec(f"hf:{checkpoint}", text) | {"tokenizer": "of another", "inputs": {"pixels": "as ever"}}
    model = build_model(spec, 0)
    base = build(
        tmp_path / "base",
        kind="model",
        config={},
        seed=0,
        inputs={},
        write=lambda draft: save_model(model, spec, draft),
    )
    own = model_spec(f"lora-2:hf:{base.path}", text)
    assert own["source"] == "lora" and (own["tokenizer"], own["inputs"]) == (spec["tokenizer"], spec["inputs"])
