"""Checkpoints of `transformers`: a folder or a hub name, from safetensors only, nothing silently left untrained.

Weights are held in float32, in whatever precision they are stored: training needs master weights that small steps can
move, and gradients are compared in float32.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thresher.artifacts import hash_file
from thresher.canonical import hash_json
from thresher.checkpoints import HUB, locate
from thresher.data.text.tokenizer import tokenizer_hash
from thresher.errors import InputError
from thresher.proxies.models.checkpoints import architecture, inputs
from thresher.proxies.models.checkpoints.architecture import CLASSIFIER, LANGUAGE, VISION
from thresher.proxies.models.checkpoints.stored import stored_precision
from thresher.proxies.models.checkpoints.tensors import refuse_nonfinite

# Text that shows which parts of a model of images and text are called for text alone.
PROBE_TOKENS = 4


def describe(name: str, task: str | None = None) -> dict[str, Any]:
    """What a specification says of the checkpoint `name`, a folder or a repository of the hub.

    That is its configuration, what pins its weights (a hash, or the commit), how they are stored, and what it reads:
    tokens, or images of a size, prepared in its way. Raises InputError where it is none, or not for `task`.
    """
    place = locate(name if Path(name).expanduser().exists() else HUB + name)
    described = json.loads(_described(str(place), _signature(place)))
    if task is not None and described["task"] != task:
        what = described["config"].get("architectures") or [described["config"]["model_type"]]
        raise InputError(
            f"{name} is a {described['task']} model ({what[0]}), but the examples are for {task}; give a {task} "
            "checkpoint"
        )
    return described


@lru_cache(maxsize=64)
def _described(name: str, signature: str) -> str:
    """As JSON, so that what is kept is not changed. `signature` is of the folder's files: another is read again."""
    config = read_config(name)
    task = architecture.task_of(name, config)
    sizes = architecture.sizes_of(config)
    described = {
        "checkpoint": name,
        "task": task,
        "config": config.to_dict(),
        "weights": _pin(name, config),
        "stored": _stored(name, config),
    }
    if task == VISION:
        return json.dumps(described | _labels(config) | inputs.describe(name, config), default=str)
    described |= {"vocab_size": sizes.vocab_size, "width": sizes.width}
    described |= {"sequence_length": min(sizes.sequence_length, _tokenizer_length(name))}
    if task == CLASSIFIER:
        described |= _labels(config)
    read_by = tokenizer_hash(name if Path(name).is_dir() else HUB + name)
    return json.dumps(described | ({"tokenizer": read_by} if read_by else {}), default=str)


def read_config(name: str) -> Any:
    """The `transformers` configuration of a checkpoint; raises InputError where there is none that can be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # whatever a damaged file or a configuration of another version makes it raise
        reason = first_line(error)
        raise InputError(
            f"{name} is neither a model artefact nor a checkpoint that transformers can read ({reason}); check the name"
        ) from None


def from_config(config: dict[str, Any], task: str) -> nn.Module:
    """The untrained model, in float32, of a configuration that `describe` or the ladder wrote."""
    from transformers import AutoConfig

    model = _auto_class(task).from_config(AutoConfig.for_model(**config), **_dtype())
    _freeze_other_inputs(model, task)
    return model


def load(name: str, task: str) -> nn.Module:
    """A checkpoint with its weights, in float32 and eval mode.

    Raises InputError where it cannot be loaded from safetensors, and for tensors that are missing, of another shape
    than its configuration says, or not finite.
    """
    try:
        model, info = _auto_class(task).from_pretrained(
            name,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **_dtype(),
        )
    except Exception as error:
        raise InputError(
            f"{name} cannot be loaded from safetensors ({first_line(error)}); save it with save_pretrained"
        ) from None
    for key, *shapes in sorted(info["mismatched_keys"]):
        there, expected = (list(shape) for shape in shapes)
        raise InputError(
            f"{name}: tensor {key} is {there}, its configuration says {expected}; give a matching config.json"
        )
    if info["missing_keys"]:
        raise InputError(f"{name} has no tensor {min(info['missing_keys'])}; give a complete {task} checkpoint")
    refuse_nonfinite(model, name)
    _freeze_other_inputs(model, task)
    return model.float().eval()


def load_described(spec: dict[str, Any]) -> nn.Module:
    """The checkpoint that `spec` describes, as `load` gives it; raises InputError where it has changed since."""
    name = spec["checkpoint"]
    if _pin(name, read_config(name)) != spec["weights"]:
        raise InputError(f"checkpoint {name} has changed since it was described; describe it again, to another output")
    return load(name, spec["task"])


def _freeze_other_inputs(model: Any, task: str) -> None:
    """Freeze the parts of a model of several kinds of input that a text alone does not call (its tower for images)."""
    if task != LANGUAGE or not architecture.is_nested(model.config):
        return
    called: set[nn.Module] = set()
    hooks = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(input_ids=torch.arange(1, 1 + PROBE_TOKENS)[None])
    finally:
        for hook in hooks:
            hook.remove()
    for part in {*model.children(), *model.base_model.children()}:
        if not called & set(part.modules()):
            part.requires_grad_(False)


def first_line(error: Exception) -> str:
    """The first line of an error's message, cut to 160 characters, or the name of its class."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]


def _labels(config: Any) -> dict[str, Any]:
    return {"num_classes": config.num_labels, "labels": [str(config.id2label[i]) for i in range(config.num_labels)]}


def _auto_class(task: str) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    classes = {LANGUAGE: "CausalLM", VISION: "ImageClassification", CLASSIFIER: "SequenceClassification"}
    return getattr(transformers, f"AutoModelFor{classes[task]}")


def _dtype() -> dict[str, Any]:
    """float32, asked for by the name that this version of `transformers` has for it."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (4, 56) else "torch_dtype": torch.float32}


def _stored(name: str, config: Any) -> str:
    folder = Path(name)
    if folder.is_dir():
        return stored_precision(name, sorted(folder.glob("*.safetensors")))
    dtype = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None) or "unknown"
    return str(dtype).removeprefix("torch.")


def _tokenizer_length(name: str) -> int:
    """The longest text that a checkpoint's tokenizer says the model takes."""
    try:
        said = json.loads((Path(name) / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError, RecursionError):
        said = None
    if isinstance(said, int | float) and 1 < said < architecture.UNBOUNDED:
        return int(said)
    return architecture.UNBOUNDED


def _pin(name: str, config: Any) -> str:
    folder = Path(name)
    if not folder.is_dir():
        return json.dumps(getattr(config, "_commit_hash", None))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{name} holds no .safetensors file; save the model with save_pretrained")
    return hash_json({file.name: _hash(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files})


@lru_cache(maxsize=256)
def _hash(file: str, size: int, changed: int) -> str:
    return hash_file(Path(file))


def _signature(place: Path | str) -> str:
    if isinstance(place, str):
        return ""
    files = sorted(file for file in place.iterdir() if file.is_file())
    return json.dumps([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])
