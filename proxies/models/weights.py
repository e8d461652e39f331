"""A model on disk: the `model` artefact's files written, and any trained model opened by its name."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from thresher.artifacts import Draft, open_artifact
from thresher.canonical import hash_json
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models import names
from thresher.proxies.models.checkpoints import adapters, pretrained
from thresher.proxies.models.checkpoints.tensors import WEIGHTS, own_tensors
from thresher.proxies.models.checkpoints.tensors import load_weights as load_weights
from thresher.proxies.models.checkpoints.trained import load_trained
from thresher.proxies.models.fits import check_alike, check_all
from thresher.proxies.models.probe import probe, refuse_constant
from thresher.proxies.models.spec import TRIED, Spec, build_model, model_spec, private_randomness, read_artifact_spec

Loaders = list[tuple[str, Callable[[], nn.Module]]]


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


def loaders_of(models: Sequence[str], examples: Examples, *others: Examples) -> Loaders:
    """(content hash, loader) of each model (see `proxies.names`), as they read the examples, pool and targets alike.

    Refuses models that cannot read all of them, or would read them as something else.
    """
    if not models:
        raise InputError("no model was given; give at least one model artefact or checkpoint")
    for other in others:
        check_alike(examples, other)
    loaders: Loaders = []
    for name in models:
        spec = read_spec(name, examples)
        check_all(spec, (examples, *others))
        loaders.append((_hash_of(name, spec), lambda name=name: _opened(name, examples)))
    return loaders


def _opened(name: str, examples: Examples) -> nn.Module:
    model = open_model(name, examples)
    refuse_constant(model, examples, name)
    return model


def _hash_of(name: str, spec: Spec) -> str:
    """Of the weights, and of how they are used: the same for the same numbers, wherever they lie."""
    parsed = names.parse(name, trained=True)
    if parsed.kind == names.ARTIFACT:
        return open_artifact(Path(parsed.value), "model").content_hash
    if parsed.kind == names.FUNCTION:
        return hash_of_function(spec)
    used = {key: value for key, value in spec.items() if key not in ("name", "checkpoint", "file")}
    return hash_json(used)
