"""torchvision's models: untrained by name, or with the weights of a file (`torchvision:resnet18@weights.pth`).

A file is read as tensors alone (`weights_only`). One that has the name under which torchvision publishes it is prepared
and labelled as torchvision says; of others nothing is known, and that is said.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from thresher.artifacts import hash_file
from thresher.errors import InputError, near
from thresher.proxies.models.checkpoints import inputs
from thresher.proxies.models.checkpoints.stored import precision_of
from thresher.proxies.models.checkpoints.tensors import refuse_nonfinite, refuse_other

WRAPPERS = ("state_dict", "model_state_dict", "model")


def describe(name: str, weights: str | None) -> dict[str, Any]:
    """What a specification says of `torchvision:NAME`, or with `weights` of `torchvision:NAME@FILE`.

    Raises InputError for a name that torchvision does not have, and for a file of another model's weights.
    """
    if name not in models.list_models(module=models):
        known = models.list_models(module=models)
        raise InputError(
            f"torchvision has no model {name!r} of images{near(name, known)}; see "
            "torchvision.models.list_models() for those it has"
        )
    if weights is None:
        return {"source": "torchvision", "model": name}
    file = Path(weights).expanduser()
    tensors = read_tensors(file)
    model = build(name, num_classes=2)
    last = list(model.state_dict())[-1]
    if last not in tensors:
        raise InputError(f"{file} has no tensor {last}, so it is not of {name}; give the weights of a {name}")
    described = {"source": "torchvision", "model": name, "file": str(file), "weights": hash_file(file)}
    described |= {"num_classes": len(tensors[last]), "stored": precision_of(tensors)}
    return described | _published(name, file, len(tensors[last]))


def build(name: str, *, num_classes: int) -> nn.Module:
    """A torchvision classification model by its name, untrained."""
    return models.get_model(name, weights=None, num_classes=num_classes)


def load_described(spec: dict[str, Any]) -> nn.Module:
    """The model of `spec` with the weights of its file, in float32.

    Raises InputError for a file that has changed since, and for weights of another shape or that are not finite.
    """
    file = Path(spec["file"])
    tensors = read_tensors(file)
    if hash_file(file) != spec["weights"]:
        raise InputError(f"{file} has changed since it was described; describe it again, to another output")
    model = build(spec["model"], num_classes=spec["num_classes"])
    expected = model.state_dict()
    # Counters of batches came later than some files; nothing of a model in use depends on them.
    tensors |= {key: expected[key] for key in expected.keys() - tensors.keys() if key.endswith("num_batches_tracked")}
    refuse_other(file, *({key: list(value.shape) for key, value in some.items()} for some in (tensors, expected)))
    model.load_state_dict(tensors)
    refuse_nonfinite(model, str(file))
    return model.float()


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, `.pth` or `.pt` file by name, without the prefix that parallel training adds.

    Raises InputError for a file that is missing, or that holds anything but tensors by name.
    """
    if not file.is_file():
        raise InputError(f"{file} does not exist or is no file; give a .safetensors or .pth file of weights")
    try:
        if file.suffix == ".safetensors":
            contents: Any = load_file(file)
        else:
            contents = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{file} is no file of weights alone ({type(error).__name__}); save it with torch.save(model.state_dict(), "
            "..) or as safetensors"
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(contents, dict) and isinstance(contents.get(wrapper), dict):
            contents = contents[wrapper]
    if (
        not isinstance(contents, dict)
        or not contents
        or not all(isinstance(value, Tensor) for value in contents.values())
    ):
        raise InputError(f"{file} holds no weights by name; save it with torch.save(model.state_dict(), ..)")
    contents = {str(key): value for key, value in contents.items()}
    prefixed = all(key.startswith("module.") for key in contents)
    return {key.removeprefix("module.") if prefixed else key: value for key, value in contents.items()}


def _published(name: str, file: Path, num_classes: int) -> dict[str, Any]:
    """How torchvision prepares images for the weights it publishes under this file's name, and its classes."""
    for weights in models.get_model_weights(name):
        if weights.url.rpartition("/")[2] == file.name:
            preset: Any = weights.transforms()
            size = preset.crop_size[-1]
            mean, spread = np.asarray(preset.mean, float), np.asarray(preset.std, float)
            prepared = inputs.as_inputs(
                np.diag(1 / spread), -mean / spread, f"as torchvision's {weights.name} prepares them"
            )
            labels = list(weights.meta.get("categories", []))
            return {"image_shape": [3, size, size], "inputs": prepared} | ({"labels": labels} if labels else {})
    said = {"inputs": {"pixels": "from -1 to 1; the file does not say"}}
    return said | {"labels": [f"LABEL_{index}" for index in range(num_classes)]}
