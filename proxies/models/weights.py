"""Trained models on disk: saved as the files of a `model` artefact, and opened again by name, alone or as checkpoints.

The names are those of `proxies.models.names`; `proxies.models.identity` says which models are the same.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from thresher.artifacts import Draft
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models import names
from thresher.proxies.models.checkpoints import adapters, pretrained
from thresher.proxies.models.checkpoints.tensors import WEIGHTS, own_tensors
from thresher.proxies.models.checkpoints.trained import load_trained
from thresher.proxies.models.fits import check_alike, check_all
from thresher.proxies.models.identity import content_hash_of
from thresher.proxies.models.probe import probe, refuse_constant
from thresher.proxies.models.sources import FOREIGN
from thresher.proxies.models.spec import Spec, build_model, model_spec, private_randomness, read_artifact_spec

Loaders = list[tuple[str, Callable[[], nn.Module]]]
"""Checkpoints as attribution takes them: the content hash of each, and a function that loads it."""


def save_model(model: nn.Module, spec: Spec, draft: Draft) -> None:
    """Write the files of a `model` artefact: `spec.json` and the weights.

    The weights are `model.safetensors`; of a model with adapters they are the adapters alone (`adapters.save`). Beside
    a `transformers` model stands `config.json`, so that `AutoModelForCausalLM.from_pretrained(artefact)` reads the
    folder as it is.
    """
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
    """The trained model that `name` means, in eval mode and float32, as it reads `examples`.

    That is an artefact that `train` made, a checkpoint, torchvision's weights from a file, or what your own function
    returns. Raises InputError where `read_spec` does, and for a model that fails on what it should read.
    """
    spec, parsed = read_spec(name, examples), names.parse(str(name), trained=True)
    if parsed.kind != names.ARTIFACT:
        return build_model(spec, seed=0).eval()
    model = build_model(spec, seed=0, empty=True)
    load_trained(model, spec["source"], Path(parsed.value))
    if spec["source"] in FOREIGN:
        with private_randomness():
            probe(model, spec)
    return model.eval()


def read_spec(name: str | Path, examples: Examples | None = None) -> Spec:
    """The specification of what `open_model` opens; without examples, that of an artefact or a checkpoint by itself.

    Raises InputError for names of untrained models, to which nothing can be attributed, and where examples are needed
    and none are given.
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


def loaders_of(models: Sequence[str], examples: Examples, *others: Examples) -> Loaders:
    """The content hash and the loader of each model named, as they read the examples, pool and targets alike.

    Raises InputError for an empty list, and for models that cannot read all of the examples, or would read them as
    something else. A loader refuses a model that gives the same logits whatever it reads.
    """
    return [
        (content_hash_of(name, spec), lambda name=name: _opened(name, examples))
        for name, spec in zip(models, specs_of(models, examples, *others), strict=True)
    ]


def specs_of(models: Sequence[str], examples: Examples, *others: Examples) -> list[Spec]:
    """The specification of each model named, without a look at its weights. Raises InputError as `loaders_of` does."""
    if not models:
        raise InputError("no model was given; give at least one model artefact or checkpoint")
    for other in others:
        check_alike(examples, other)
    specs = [read_spec(name, examples) for name in models]
    for spec in specs:
        check_all(spec, (examples, *others))
    return specs


def _opened(name: str, examples: Examples) -> nn.Module:
    model = open_model(name, examples)
    refuse_constant(model, examples, name)
    return model
