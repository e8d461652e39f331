"""A model on disk: the `model` artefact's files written, read and checked."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from thresher.artifacts import Draft, is_artifact, open_artifact
from thresher.errors import InputError
from thresher.proxies import adapters, pretrained
from thresher.proxies.models import Spec, build_model


def save_model(model: nn.Module, spec: Spec, draft: Draft) -> None:
    """Write `model.safetensors` and `spec.json`; for a `transformers` model `config.json` too, so that
    `AutoModelForCausalLM.from_pretrained(artefact)` reads the folder as it is. Of adapters, they alone (`adapters`)."""
    with draft.file("spec.json") as file:
        file.write_text(json.dumps(spec, indent=1))
    if spec["source"] == "lora":
        return adapters.save(model, draft)
    with draft.file("model.safetensors") as file:
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


def open_model(name: str | Path) -> nn.Module:
    """The model of an artefact that `train` made, or of a `transformers` folder or hub name, in eval mode."""
    path = Path(name)
    if not is_artifact(path):
        return pretrained.load(str(name), pretrained.task_of_config(pretrained.read_config(str(name))))
    artifact = open_artifact(path, "model")
    spec = read_spec(path)
    model = build_model(spec, seed=0, empty=True)
    if spec["source"] == "lora":
        _copy_adapters(model, path)
    else:
        load_weights(model, artifact.file("model.safetensors"))
    return model.eval()


def read_spec(name: str | Path) -> Spec:
    """The specification of what `open_model` opens."""
    path = Path(name)
    if is_artifact(path):
        return json.loads(open_artifact(path, "model").file("spec.json").read_text())
    return {"name": str(name), "source": "pretrained", **pretrained.describe(str(name))}


def load_weights(model: nn.Module, file: Path) -> None:
    """Copy the tensors of `file` into `model`; refuse a file of another architecture, naming the first difference."""
    own = own_tensors(model)
    try:
        with safe_open(file, framework="pt") as stored, torch.no_grad():
            shapes = {name: list(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
            _refuse_other(file, shapes, {name: list(tensor.shape) for name, tensor in own.items()})
            for name, tensor in own.items():
                tensor.copy_(stored.get_tensor(name))
    except SafetensorError as error:
        raise InputError(f"{file} is not a readable safetensors file ({error}); make it again") from None


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, one that goes by several names (tied) under the first alone."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def _copy_adapters(model: nn.Module, folder: Path) -> None:
    """As `load_weights`, of adapters, whose names in the file are `peft`'s."""
    stored, own = adapters.read(folder), adapters.tensors_of(model)
    shapes, wanted = ({name: list(tensor.shape) for name, tensor in some.items()} for some in (stored, own))
    _refuse_other(folder / adapters.FILE, shapes, wanted)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def _refuse_other(file: Path, stored: dict[str, list[int]], wanted: dict[str, list[int]]) -> None:
    for name in [*wanted, *stored]:
        if stored.get(name) != wanted.get(name):
            there, needed = (f"{shapes[name]}" if name in shapes else "absent" for shapes in (stored, wanted))
            raise InputError(
                f"{file} is of another architecture: tensor {name} is {there} there, {needed} in this model; "
                "give the weights that belong to the model"
            )
