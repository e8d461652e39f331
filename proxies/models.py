"""From a short name to a complete description of a model, from the description to the model.

  language  `0.4M`, `llama:0.4M`, `gpt_neox:1M`          the ladder: total parameters
  vision    `rn-1/16`, `torchvision:resnet18`, `mlp-64x2`
  either    `hf:NAME_OR_FOLDER`                          a `transformers` checkpoint, trained further
            `lora-8:hf:NAME_OR_FOLDER`                   adapters of rank 8 beside it (`adapters`)
            `package.module:function`                    your own: a function that returns an untrained `nn.Module`

Your own function is called with keywords. Text: `vocab_size=..., sequence_length=...`; `model(input_ids=...)` gives the
logits [b, t, v]. Images: `num_classes=..., image_shape=(c, h, w)`; `model(pixel_values)` gives the logits [b, classes].
"""

import importlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from thresher.data.examples import Examples, ImageExamples, TokenExamples
from thresher.errors import InputError
from thresher.proxies import adapters, ladder, pretrained, tables, vision
from thresher.seeds import seed_everything

Spec = dict[str, Any]


def model_spec(name: str, examples: Examples) -> Spec:
    """The complete, JSON-able description of the model that `name` means for these examples."""
    spec = {"name": name, "task": task_of(examples), **_sizes(examples)}
    if name.startswith("hf:"):
        return spec | {"source": "pretrained", **pretrained.describe(name.removeprefix("hf:"), spec["task"])}
    if (found := adapters.describe(name, spec["task"])) is not None:
        return spec | found
    if isinstance(examples, ImageExamples) and (found := _vision_source(name)):
        return spec | found
    family, _, size = name.rpartition(":")
    if isinstance(examples, TokenExamples) and (family in ladder.FAMILIES or not family):
        sizes = {key: spec[key] for key in ("vocab_size", "sequence_length")}
        config = ladder.language_config(size, family=family or "gpt2", **sizes)
        return spec | {"source": "ladder", "config": config}
    if family:
        _import_function(name)
        return spec | {"source": "function", "function": name}
    known = "a size such as 0.4M" if spec["task"] == "language" else "rn-1/16, torchvision:NAME, mlp-64x2"
    raise InputError(f"model {name!r} is unknown for {spec['task']}; pass {known}, hf:NAME or module:function")


def build_model(spec: Spec, seed: int, *, empty: bool = False) -> nn.Module:
    """The model of `spec` in training mode, initialised from `seed` alone (and from nothing else drawn before).

    A pretrained source comes with its weights; with `empty` it comes without, for weights that are about to be loaded.
    """
    with private_randomness():
        seed_everything(seed, "initialisation")
        model = BUILDERS[spec["source"]](spec)
        if spec["source"] == "pretrained" and not empty:
            pretrained.fill(model, spec)
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
    return next((config[key] for key in ("hidden_size", "n_embd", "d_model", "dim") if key in config), None)


def task_of(examples: Examples) -> str:
    return "language" if isinstance(examples, TokenExamples) else "vision"


def check_fits(spec: Spec, examples: Examples) -> None:
    """Refuse examples that the model cannot read: of another task, with tokens, lengths or classes it does not have."""
    if spec["task"] != task_of(examples):
        raise InputError(
            f"model {spec['name']!r} is for {spec['task']}, but {examples.artifact.path} is for {task_of(examples)}; "
            "give a model and examples of one task"
        )
    there = _sizes(examples)
    if None not in (spec.get("tokenizer"), there.get("tokenizer")) and spec["tokenizer"] != there["tokenizer"]:
        raise InputError(
            f"{examples.artifact.path} was prepared with another tokenizer than model {spec['name']!r} reads; "
            "prepare it with --tokenizer set to the model's own"
        )
    for key in there.keys() & {"vocab_size", "sequence_length", "num_classes"}:
        if there[key] > spec[key]:
            raise InputError(
                f"{examples.artifact.path} has {key} {there[key]}, but model {spec['name']!r} was made for at most "
                f"{spec[key]}; prepare the examples as the model's own pool was"
            )


def _sizes(examples: Examples) -> Spec:
    if isinstance(examples, TokenExamples):
        sizes = {"vocab_size": examples.vocab_size, "sequence_length": examples.sequence_length}
        return sizes | ({"tokenizer": examples.tokenizer_hash} if examples.tokenizer_hash else {})
    assert isinstance(examples, ImageExamples)
    return {"num_classes": len(examples.classes), "image_shape": list(examples.image_shape)}


def _vision_source(name: str) -> Spec | None:
    if name.startswith("rn-"):
        return {"source": "resnet", "multiplier": str(vision.parse_multiplier(name.removeprefix("rn-")))}
    if name.startswith("torchvision:"):
        return {"source": "torchvision", "model": name.removeprefix("torchvision:")}
    if name.startswith("mlp-"):
        width, depth = tables.parse_mlp(name.removeprefix("mlp-"))
        return {"source": "mlp", "width": width, "depth": depth}
    return None


def _build_transformer(spec: Spec) -> nn.Module:
    return pretrained.from_config(spec["config"], spec["task"])


def _build_resnet(spec: Spec) -> nn.Module:
    multiplier, channels = vision.parse_multiplier(spec["multiplier"]), spec["image_shape"][0]
    return vision.ResNet18(multiplier, num_classes=spec["num_classes"], num_channels=channels)


def _build_mlp(spec: Spec) -> nn.Module:
    num_inputs = tables.num_inputs_of(tuple(spec["image_shape"]))
    return tables.mlp(num_inputs, spec["num_classes"], width=spec["width"], depth=spec["depth"])


def _build_torchvision(spec: Spec) -> nn.Module:
    return vision.torchvision_model(spec["model"], num_classes=spec["num_classes"])


def _build_own(spec: Spec) -> nn.Module:
    if spec["task"] == "language":
        sizes = {"vocab_size": spec["vocab_size"], "sequence_length": spec["sequence_length"]}
    else:
        sizes = {"num_classes": spec["num_classes"], "image_shape": tuple(spec["image_shape"])}
    model = _import_function(spec["function"])(**sizes)
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec['function']} returned a {type(model).__name__}; it must return a torch.nn.Module")
    return model


def _import_function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"model {name!r}: {error}; pass module:function that can be imported from here") from None


BUILDERS: dict[str, Callable[[Spec], nn.Module]] = {
    "ladder": _build_transformer,
    "pretrained": _build_transformer,
    "lora": adapters.build,
    "resnet": _build_resnet,
    "mlp": _build_mlp,
    "torchvision": _build_torchvision,
    "function": _build_own,
}
