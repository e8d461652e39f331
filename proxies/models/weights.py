"""A model on disk: the `model` artefact's files written, and any trained model opened by its name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from thresher.artifacts import Draft
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models import names
from thresher.proxies.models.checkpoints import adapters, pretrained
from thresher.proxies.models.checkpoints.tensors import WEIGHTS, load_trained, own_tensors
from thresher.proxies.models.checkpoints.tensors import load_weights as load_weights
from thresher.proxies.models.probe import probe
from thresher.proxies.models.spec import TRIED, Spec, build_model, model_spec, private_randomness, read_artifact_spec


def save_model(model: nn.Module, spec: Spec, draft: Draft) -> None:
    """Write `model.safetensors` and `spec.json`; for a `transformers` model `config.json` too, so that
    `AutoModelForCausalLM.from_pretrained(artefact)` reads the folder as it is. Of adapters, they alone (`adapters`)."""
    with draft.file("spec.json") as file:
        file.write_text(json.dumps(spec, indent=1))
    if spec["source"] == "lora":
        return adapters.save(model, draft)
    with draft.file(WEIGHTS) as file:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in own_tensors(model).items()},
            file,
            {"format": "pt"},
        )
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_json_string"):
        config.architectures = [type(model).__name__]
        with draft.file("config.json") as file:
            file.write_text(config.to_json_string())


def open_model(name: str | Path, examples: Examples | None = None) -> nn.Module:
    """The trained model that `name` means (see `names`), in eval mode and float32, as it reads `examples`: an artefact
    that `train` made, a checkpoint, torchvision's weights from a file, or what your own function returns."""
    spec, parsed = read_spec(name, examples), names.parse(str(name), trained=True)
    if parsed.kind != names.ARTIFACT:
        return build_model(spec, seed=0).eval()
    model = build_model(spec, seed=0, empty=True)
    load_trained(model, spec["source"], Path(parsed.value))
    if spec["source"] in TRIED:
        with private_randomness():
            probe(model, spec)
    return model.eval()


def read_spec(name: str | Path, examples: Examples | None = None) -> Spec:
    """The specification of what `open_model` opens. Without examples, of a checkpoint by itself.

    Raises InputError for names of untrained models, of which there is nothing to attribute to.
    """
    parsed = names.parse(str(name), trained=True)
    if parsed.kind == names.ARTIFACT:
        return read_artifact_spec(parsed.value)
    if parsed.is_untrained or parsed.kind == names.ADAPTERS:
        raise InputError(
            f"{parsed.text} is a model without training; train it (thresher train --model {parsed.text} ..) and give "
            "the artefact"
        )
    if examples is not None:
        return model_spec(str(name), examples, trained=True)
    if parsed.kind == names.CHECKPOINT:
        return {"name": str(name), "source": "pretrained", **pretrained.describe(parsed.value)}
    raise InputError(f"{parsed.text} is made for examples; give some")


def hash_of_function(spec: Spec) -> str:
    """Of the tensors of the model that somebody's own function gives."""
    digest = hashlib.sha256()
    for name, tensor in own_tensors(build_model(spec, seed=0)).items():
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
