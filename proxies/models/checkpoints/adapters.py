"""LoRA: low-rank updates beside a checkpoint that stays as it is (arXiv 2106.09685), by the `peft` package.

Named `lora:hf:NAME_OR_FOLDER`, or `lora-16:hf:...` of rank 16. Every linear layer but the output gets one; they alone
are trained, attributed and saved. The artefact holds them as `peft` does, so `PeftModel.from_pretrained(base, folder)`
reads it, and says which checkpoint they belong to, by name and hash.
"""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thresher.artifacts import Draft
from thresher.errors import InputError
from thresher.proxies.models.checkpoints import pretrained
from thresher.proxies.models.names import ModelName

FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""Of names in `peft`'s files: the adapted model stands in a wrapper there."""


def describe(parsed: ModelName, task: str) -> dict[str, Any]:
    """What a specification says of `lora-RANK:hf:CHECKPOINT`; raises InputError where `peft` is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise InputError(f"model {parsed.text!r} needs the package peft; install it: pip install 'thresher[lora]'")
    # Updates are scaled by alpha / rank; twice is what adapters mostly are trained with.
    return {"source": "lora", "rank": parsed.rank, "alpha": 2 * parsed.rank, **pretrained.describe(parsed.value, task)}


def build(spec: dict[str, Any]) -> nn.Module:
    """The checkpoint of `spec`, frozen, with new adapters, which change nothing yet."""
    # An optional extra: only who asks for adapters needs it.
    from peft import inject_adapter_in_model

    model = pretrained.load_described(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each layer is asked whether its matrix lies transposed
        inject_adapter_in_model(_config(spec), model)
    return model


def save(model: nn.Module, draft: Draft) -> None:
    """Write the adapters as `peft` does: `adapter_model.safetensors` and `adapter_config.json`."""
    with draft.file(FILE) as file:
        tensors = {PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in tensors_of(model).items()}
        save_file(tensors, file, {"format": "pt"})
    config: Any = model.peft_config
    # Sets have another order in every process.
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config["default"].to_dict().items()}
    with draft.file(CONFIG) as file:
        file.write_text(json.dumps(plain | {"inference_mode": True}, indent=1, sort_keys=True))


def read(folder: Path) -> dict[str, Tensor]:
    """The tensors of the adapters in `folder`, named as `tensors_of` names them."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in load_file(folder / FILE).items()}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' own tensors by name; they are not copies."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model)


def _config(spec: dict[str, Any]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        lora_dropout=0.0,  # it blurs attribution
        target_modules="all-linear",
        task_type="CAUSAL_LM" if spec["task"] == "language" else None,
        base_model_name_or_path=spec["checkpoint"],
    )
