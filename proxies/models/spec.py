"""From a name (`names`) to a complete description of a model, from the description to the model.

Each kind of model is described and built by its source (`sources`).
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thresher.artifacts import is_artifact, open_artifact
from thresher.choices import Parametrization, check_word
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models import names, sources
from thresher.proxies.models.checkpoints import architecture, inputs, labels, padding
from thresher.proxies.models.checkpoints.stored import in_float32, precision_of
from thresher.proxies.models.checkpoints.trained import load_trained
from thresher.proxies.models.fits import Spec as Spec
from thresher.proxies.models.fits import check_all as check_all
from thresher.proxies.models.fits import check_fits as check_fits
from thresher.proxies.models.fits import sizes_of
from thresher.proxies.models.fits import task_of as task_of
from thresher.proxies.models.names import ModelName
from thresher.proxies.models.probe import probe
from thresher.seeds import seed_everything

TASK_OF_KIND = {names.LADDER: "language"} | dict.fromkeys((names.RESNET, names.MLP, names.TORCHVISION), "vision")
DEFAULT_PARAMETRIZATION: Parametrization = "completep"
"""Of the ladder. A specification without the word is of `standard`, as all were before there were two."""
READS = ("inputs", "image_shape", "num_channels", "tokenizer", "sequence_length")
"""What a specification says of the examples that its model reads."""
KNOWN = {"language": "a size such as 0.4M, ", "vision": "rn-1/16, torchvision:NAME, mlp-64x2, "}
KNOWN |= {"text-classification": ""}


def model_spec(name: str, examples: Examples, *, trained: bool = False, parametrization: str | None = None) -> Spec:
    """The complete description of the model that `name` means for these examples, of plain values that JSON holds.

    It describes a model that is to be trained or, with `trained`, one that is to be used as it is. `parametrization`
    is of the ladder's models; None: DEFAULT_PARAMETRIZATION. Raises InputError for a name that means nothing
    (`names.parse`), for a model of another task, and for a parametrization that is none or of a model off the ladder.
    """
    parsed, task = names.parse(name, trained=trained), task_of(examples)
    check_word(parametrization, Parametrization, "parametrization")
    if parametrization is not None and parsed.kind != names.LADDER:
        raise InputError(
            f"parametrization {parametrization!r} is of the ladder's models, such as 0.4M; leave it out for {name!r}"
        )
    spec = {"name": name, "task": task, **sizes_of(examples)}
    if parsed.kind == names.ARTIFACT:
        return read_artifact_spec(parsed.value) if trained else continued(parsed)
    if TASK_OF_KIND.get(parsed.kind, task) != task:
        raise InputError(f"model {name!r} is unknown for {task}; pass {KNOWN[task]}hf:NAME or module:function")
    spec |= sources.describe(parsed, spec)
    if parsed.kind == names.ADAPTERS and is_artifact(Path(parsed.value)):
        # What it reads stands in its own specification: it has neither the processor nor the tokenizer beside it.
        base = read_artifact_spec(parsed.value)
        spec |= {key: base[key] for key in READS if key in base}
    if parsed.kind == names.LADDER and (parametrization or DEFAULT_PARAMETRIZATION) == "completep":
        spec["parametrization"] = "completep"
    return _with_labels(spec, examples)


def continued(parsed: ModelName) -> Spec:
    """The specification of a `model` artefact that is trained further: its own, with the artefact it starts from."""
    artifact = open_artifact(Path(parsed.value), "model")
    spec = read_artifact_spec(parsed.value)
    start = {"path": parsed.value, "content_hash": artifact.content_hash}
    return spec | {"name": parsed.text, "initial": start}


def read_artifact_spec(folder: str | Path) -> Spec:
    """The specification that a `model` artefact was made from; raises InputError where the folder holds none."""
    file = open_artifact(Path(folder), "model").file("spec.json")
    try:
        spec = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is no JSON ({error}); make the model again") from None
    if not isinstance(spec, dict) or not {"task", "source"} <= spec.keys():
        raise InputError(f"{file} describes no model; make the model again")
    return spec


def build_model(spec: Spec, seed: int, *, empty: bool = False) -> nn.Module:
    """The model of `spec` in training mode and float32, initialised from `seed` alone, whatever was drawn before.

    A pretrained source comes with its weights; with `empty` it comes without, for weights that are about to be loaded.
    Models that are not ours are tried (`probe`) unless `empty`. Raises InputError where they fail, and where a
    checkpoint has changed since it was described.
    """
    with private_randomness():
        seed_everything(seed, "initialisation")
        # Of a model that is trained further the weights are in its artefact; its checkpoint may be gone.
        model = sources.build(spec, empty=empty or ("initial" in spec and spec["source"] != "lora"))
        # As it came: of what is already in float32 a checkpoint's own word counts.
        stored = precision_of(dict(model.named_parameters()))
        model.stored_precision = spec.get("stored", stored)  # type: ignore[assignment]
        in_float32(model)
        inputs.honour(model, spec.get("inputs", {}))
        labels.honour(model, spec.get("label_order"))
        padding.honour(model, spec)
        if "initial" in spec and not empty:
            _start_from(model, spec)
        if spec["source"] in sources.FOREIGN and not empty:
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
    """How many parameters a model has, `total` and `non_embedding`; a matrix that is shared counts once.

    `non_embedding` leaves out the token and position embeddings and the output matrix of a language model (Kaplan et
    al. 2020, arXiv 2001.08361). `trained` is given only where some parameters are frozen.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if embeddings and head is not None:
        embeddings.add(id(head.weight))
    counts = {id(parameter): parameter.numel() for parameter in model.parameters()}
    total = sum(counts.values())
    trained = sum(counts[id(parameter)] for parameter in model.parameters() if parameter.requires_grad)
    counted = {"total": total, "non_embedding": total - sum(counts.get(key, 0) for key in embeddings)}
    return counted if trained == total else counted | {"trained": trained}


def size_of(spec: Spec) -> dict[str, int]:
    """How many parameters the model of `spec` has (`num_parameters`), where possible without a tensor."""
    if spec["source"] not in ("ladder", "pretrained"):
        return num_parameters(build_model(spec, 0))
    with private_randomness(), torch.device("meta"):
        return num_parameters(sources.build(spec, empty=True))


def model_width(spec: Spec) -> int | None:
    """The residual width of a language model, where its configuration says it."""
    config = spec.get("config", {})
    known = (config[key] for key in architecture.WIDTHS if isinstance(config.get(key), int))
    return spec.get("width") or next(known, None)


def model_depth(spec: Spec) -> int:
    """The number of layers of a model of the ladder."""
    config = spec["config"]
    return config["n_layer"] if "n_layer" in config else config["num_hidden_layers"]


def origin_of(spec: Spec) -> str:
    """What decides the usual learning rate: the source, or `pretrained` for any model that is trained further."""
    starts = "initial" in spec or "file" in spec
    return "pretrained" if starts and spec["source"] != "lora" else spec["source"]


def honoured(model: nn.Module, spec: Spec) -> dict[str, Any]:
    """The facts that an artefact made with this model records of it.

    They are how its weights were stored and are held, how its pixels and labels are read, and where it started.
    """
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
