"""From a name (`names`) to a complete description of a model, from the description to the model.

Your own function is called with keywords. Text: `vocab_size=..., sequence_length=...`; `model(input_ids=...)` gives the
logits [b, t, v]. Texts with a class each: `num_classes=...` too; `model(input_ids=..., attention_mask=...)` gives the
logits [b, classes]. Images: `num_classes=..., image_shape=(c, h, w)`; `model(pixel_values)` gives the same.
"""

import importlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thresher.artifacts import open_artifact
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models import ladder, mlp, names, vision
from thresher.proxies.models.checkpoints import (
    adapters,
    architecture,
    inputs,
    labels,
    padding,
    pretrained,
    torchvision_weights,
)
from thresher.proxies.models.checkpoints.stored import in_float32, precision_of
from thresher.proxies.models.checkpoints.trained import load_trained
from thresher.proxies.models.fits import check_fits as check_fits
from thresher.proxies.models.fits import sizes_of
from thresher.proxies.models.fits import task_of as task_of
from thresher.proxies.models.names import ModelName
from thresher.proxies.models.probe import probe
from thresher.seeds import seed_everything

Spec = dict[str, Any]
TASK_OF_KIND = {names.LADDER: "language"} | dict.fromkeys((names.RESNET, names.MLP, names.TORCHVISION), "vision")
KNOWN = {"language": "a size such as 0.4M, ", "vision": "rn-1/16, torchvision:NAME, mlp-64x2, "}
KNOWN |= {"text-classification": ""}
# Models of somebody else's making are tried before they are used.
TRIED = ("pretrained", "lora", "torchvision", "function")


def model_spec(name: str, examples: Examples, *, trained: bool = False) -> Spec:
    """The complete, JSON-able description of the model that `name` means for these examples: to be trained, or
    (`trained`) to be used as it is."""
    parsed, task = names.parse(name, trained=trained), task_of(examples)
    spec = {"name": name, "task": task, **sizes_of(examples)}
    if parsed.kind == names.ARTIFACT:
        return read_artifact_spec(parsed.value) if trained else continued(parsed)
    if TASK_OF_KIND.get(parsed.kind, task) != task:
        raise InputError(f"model {name!r} is unknown for {task}; pass {KNOWN[task]}hf:NAME or module:function")
    return _with_labels(spec | DESCRIBERS[parsed.kind](parsed, spec), examples)


def continued(parsed: ModelName) -> Spec:
    """The specification of a `model` artefact trained further: its own, and where its weights begin."""
    artifact = open_artifact(Path(parsed.value), "model")
    spec = read_artifact_spec(parsed.value)
    start = {"path": parsed.value, "content_hash": artifact.content_hash}
    return spec | {"name": parsed.text, "initial": start}


def read_artifact_spec(folder: str | Path) -> Spec:
    return json.loads(open_artifact(Path(folder), "model").file("spec.json").read_text())


def build_model(spec: Spec, seed: int, *, empty: bool = False) -> nn.Module:
    """The model of `spec` in training mode and float32, initialised from `seed` alone (nothing else drawn before).

    A pretrained source comes with its weights; with `empty` it comes without, for weights that are about to be loaded.
    Models that are not ours are tried (`probe`) unless `empty`.
    """
    with private_randomness():
        seed_everything(seed, "initialisation")
        model = BUILDERS[spec["source"]](spec, empty)
        # As it came: of what is already in float32 a checkpoint's own word counts.
        stored = precision_of(dict(model.named_parameters()))
        model.stored_precision = spec.get("stored", stored)  # type: ignore[assignment]
        in_float32(model)
        inputs.honour(model, spec.get("inputs", {}))
        labels.honour(model, spec.get("label_order"))
        padding.honour(model, spec)
        if "initial" in spec and not empty:
            _start_from(model, spec)
        if spec["source"] in TRIED and not empty:
            probe(model, spec)
    return model.train()


@contextmanager
def private_randomness() -> Iterator[None]:
    """Inside, the global generators may be seeded and drawn from; afterwards they are as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def num_parameters(model: nn.Module) -> dict[str, int]:
    """Counts of parameters, a shared matrix once; `non_embedding` is without token and position embeddings and the
    output matrix of a language model (Kaplan et al. 2020); `trained` is there where some are not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if embeddings and head is not None:
        embeddings.add(id(head.weight))
    counts = {id(parameter): parameter.numel() for parameter in model.parameters()}
    total = sum(counts.values())
    trained = sum(counts[id(parameter)] for parameter in model.parameters() if parameter.requires_grad)
    found = {"total": total, "non_embedding": total - sum(counts.get(key, 0) for key in embeddings)}
    return found if trained == total else found | {"trained": trained}


def model_width(spec: Spec) -> int | None:
    """The residual width of a language model, where its configuration says it."""
    config = spec.get("config", {})
    known = (config[key] for key in architecture.WIDTHS if isinstance(config.get(key), int))
    return spec.get("width") or next(known, None)


def origin_of(spec: Spec) -> str:
    """What decides the usual learning rate: the source, or `pretrained` for any model that is trained further."""
    starts = "initial" in spec or "file" in spec
    return "pretrained" if starts and spec["source"] != "lora" else spec["source"]


def honoured(model: nn.Module, spec: Spec) -> dict[str, Any]:
    """What an artefact made with this model records of it: how its weights were stored and are held, and what of that
    which a checkpoint says of itself was done."""
    stored = getattr(model, "stored_precision", "float32")
    facts: dict[str, Any] = {"weights": {"stored": stored, "held": "float32"}}
    if "inputs" in spec:
        facts["pixels"] = spec["inputs"]["pixels"]
    if "labels_by" in spec:
        facts["labels_by"] = spec["labels_by"]
    if "initial" in spec:
        facts["initial"] = spec["initial"]
    return facts


def _start_from(model: nn.Module, spec: Spec) -> None:
    start = spec["initial"]
    if open_artifact(Path(start["path"]), "model").content_hash != start["content_hash"]:
        raise InputError(f"{start['path']} has changed since it was described; describe it again, to another output")
    load_trained(model, spec["source"], Path(start["path"]))


def _with_labels(spec: Spec, examples: Examples) -> Spec:
    if "labels" not in spec:
        return spec
    names_of_classes = list(getattr(examples, "classes", []))
    matched = labels.match(spec["name"], spec["labels"], names_of_classes)
    if matched["label_order"] == list(range(len(spec["labels"]))):
        matched["label_order"] = None
    return spec | matched


def _describe_own(parsed: ModelName, spec: Spec) -> Spec:
    import_function(parsed.value)
    return {"source": "function", "function": parsed.value}


def _describe_ladder(parsed: ModelName, spec: Spec) -> Spec:
    sizes = {key: spec[key] for key in ("vocab_size", "sequence_length")}
    return {"source": "ladder", "config": ladder.language_config(parsed.value, family=parsed.family, **sizes)}


def _describe_mlp(parsed: ModelName, spec: Spec) -> Spec:
    width, depth = mlp.parse_mlp(parsed.value)
    return {"source": "mlp", "width": width, "depth": depth}


DESCRIBERS: dict[str, Callable[[ModelName, Spec], Spec]] = {
    names.CHECKPOINT: lambda parsed, spec: {
        "source": "pretrained",
        **pretrained.describe(parsed.value, spec["task"]),
    },
    names.ADAPTERS: lambda parsed, spec: adapters.describe(parsed, spec["task"]),
    names.TORCHVISION: lambda parsed, spec: torchvision_weights.describe(parsed.value, parsed.weights),
    names.LADDER: _describe_ladder,
    names.RESNET: lambda parsed, spec: {
        "source": "resnet",
        "multiplier": str(vision.parse_multiplier(parsed.value)),
    },
    names.MLP: _describe_mlp,
    names.FUNCTION: _describe_own,
}


def _build_ladder(spec: Spec, empty: bool) -> nn.Module:
    return pretrained.from_config(spec["config"], spec["task"])


def _build_pretrained(spec: Spec, empty: bool) -> nn.Module:
    return pretrained.from_config(spec["config"], spec["task"]) if empty else pretrained.load_described(spec)


def _build_resnet(spec: Spec, empty: bool) -> nn.Module:
    multiplier, channels = vision.parse_multiplier(spec["multiplier"]), spec["image_shape"][0]
    return vision.ResNet18(multiplier, num_classes=spec["num_classes"], num_channels=channels)


def _build_mlp(spec: Spec, empty: bool) -> nn.Module:
    num_inputs = mlp.num_inputs_of(tuple(spec["image_shape"]))
    return mlp.mlp(num_inputs, spec["num_classes"], width=spec["width"], depth=spec["depth"])


def _build_torchvision(spec: Spec, empty: bool) -> nn.Module:
    if "file" in spec and not empty:
        return torchvision_weights.load_described(spec)
    return torchvision_weights.build(spec["model"], num_classes=spec["num_classes"])


def _build_own(spec: Spec, empty: bool) -> nn.Module:
    if spec["task"] != "vision":
        sizes = {"vocab_size": spec["vocab_size"], "sequence_length": spec["sequence_length"]}
        sizes |= {"num_classes": spec["num_classes"]} if spec["task"] == architecture.CLASSIFIER else {}
    else:
        sizes = {"num_classes": spec["num_classes"], "image_shape": tuple(spec["image_shape"])}
    model = import_function(spec["function"])(**sizes)
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec['function']} returned a {type(model).__name__}; it must return a torch.nn.Module")
    return model


def import_function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"model {name!r}: {error}; pass module:function that can be imported from here") from None


BUILDERS: dict[str, Callable[[Spec, bool], nn.Module]] = {
    "ladder": _build_ladder,
    "pretrained": _build_pretrained,
    "lora": lambda spec, empty: adapters.build(spec),
    "resnet": _build_resnet,
    "mlp": _build_mlp,
    "torchvision": _build_torchvision,
    "function": _build_own,
}
