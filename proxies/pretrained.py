"""Checkpoints of `transformers`: a folder or a hub name, from safetensors only, nothing silently left untrained."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from thresher.artifacts import hash_file, hash_json
from thresher.data.tokenizer import tokenizer_hash
from thresher.errors import InputError


def describe(name: str, task: str | None = None) -> dict[str, Any]:
    """What a specification says of checkpoint `name`: its configuration, and what pins its weights (hash or commit)."""
    config = read_config(name)
    found = task_of_config(config)
    if task is not None and found != task:
        raise InputError(f"{name} is a {found} model, but the examples are for {task}; give a {task} checkpoint")
    described = {"checkpoint": name, "task": found, "config": config.to_dict(), "weights": _pin(name, config)}
    if found == "vision":
        return described | {"num_classes": config.num_labels}
    longest = getattr(config, "max_position_embeddings", None) or 2**31
    described |= {"vocab_size": config.vocab_size, "sequence_length": longest}
    read_by = tokenizer_hash(name)
    return described | ({"tokenizer": read_by} if read_by else {})


def read_config(name: str):
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0][:120]
        raise InputError(
            f"{name} is neither a model artefact nor a checkpoint that transformers can read ({reason}); check the name"
        ) from None


def task_of_config(config) -> str:
    architecture = (getattr(config, "architectures", None) or [""])[0]
    return "vision" if architecture.endswith("ForImageClassification") else "language"


def from_config(config: dict[str, Any], task: str) -> nn.Module:
    """The untrained model of a configuration, as `describe` or the ladder wrote it."""
    from transformers import AutoConfig

    return _auto_class(task).from_config(AutoConfig.for_model(**config))


def load(name: str, task: str) -> nn.Module:
    """A checkpoint with its weights, in eval mode; refuses one with tensors missing or of another shape."""
    try:
        model, info = _auto_class(task).from_pretrained(
            name, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:120]
        raise InputError(f"{name} cannot be loaded from safetensors ({reason}); save it with save_pretrained") from None
    for key, *shapes in sorted(info["mismatched_keys"]):
        there, expected = (list(shape) for shape in shapes)
        raise InputError(
            f"{name}: tensor {key} is {there}, its configuration says {expected}; give a matching config.json"
        )
    if info["missing_keys"]:
        raise InputError(f"{name} has no tensor {min(info['missing_keys'])}; give a complete {task} checkpoint")
    return model.eval()


def fill(model: nn.Module, spec: dict[str, Any]) -> None:
    """Copy a checkpoint's weights into the model that `spec` describes; refuse a checkpoint that has changed since."""
    name = spec["checkpoint"]
    if _pin(name, read_config(name)) != spec["weights"]:
        raise InputError(f"checkpoint {name} has changed since it was described; describe it again, to another output")
    model.load_state_dict(load(name, spec["task"]).state_dict())


def _auto_class(task: str) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM if task == "language" else transformers.AutoModelForImageClassification


def _pin(name: str, config) -> str:
    folder = Path(name)
    if not folder.is_dir():
        return json.dumps(getattr(config, "_commit_hash", None))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{name} holds no .safetensors file; save the model with save_pretrained")
    return hash_json({file.name: hash_file(file) for file in files})
