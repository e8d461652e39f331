"""One grammar for the names of models, in every command.

  FOLDER                       a model that `train` made, or a checkpoint of `transformers`
  hf:FOLDER, hf:OWNER/NAME     the same; OWNER/NAME that is not here is asked of the hub
  lora-8:hf:...                adapters of rank 8 beside a checkpoint
  torchvision:NAME             untrained; torchvision:NAME@FILE with the weights of a .safetensors or .pth file
  0.4M, llama:1M, gpt_neox:1M  the ladder of language models
  rn-1/16, mlp-64x2            the small models of images
  module:function              your own

A name of an untrained model goes before a folder of that name where a model is to be trained (`./0.4M` is the folder),
after it where a trained one is needed. A path that does not exist is never asked of the network.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from thresher.artifacts import is_artifact
from thresher.checkpoints import HUB, locate, near_paths
from thresher.errors import InputError
from thresher.proxies.models import ladder

ARTIFACT, CHECKPOINT, ADAPTERS, TORCHVISION = "artifact", "checkpoint", "adapters", "torchvision"
LADDER, RESNET, MLP, FUNCTION = "ladder", "resnet", "mlp", "function"
UNTRAINED = (LADDER, RESNET, MLP)
FORMS = "a folder, hf:FOLDER_OR_NAME, lora-8:hf:..., torchvision:NAME, module:function, 0.4M, rn-1/16 or mlp-64x2"


@dataclass(frozen=True)
class ModelName:
    """What a name says: its `kind` (one of the names in capitals above) and what belongs to it."""

    text: str
    kind: str
    value: str
    """The folder or repository, the rest of the name, or the function."""
    family: str = "gpt2"
    rank: int = 8
    weights: str | None = None
    """The file of weights of a torchvision model."""

    @property
    def is_untrained(self) -> bool:
        """Whether the name means a model without training."""
        return self.kind in UNTRAINED or (self.kind == TORCHVISION and self.weights is None)


def parse(name: str, *, trained: bool = False) -> ModelName:
    """What `name` stands for; with `trained`, a trained model is needed, so a folder goes before every other reading.

    Raises InputError for a name of none of the forms, and for paths that do not exist.
    """
    name = str(name)
    if not name.strip():
        raise InputError(f"{name!r} is no model; give {FORMS}")
    if trained and Path(name).expanduser().exists():
        return _place(name, name)
    if name.startswith(HUB):
        return _place(name, name)
    if (match := re.fullmatch(r"lora(?:-(\d+))?:(.*)", name)) is not None:
        return _adapters(name, int(match[1] or 8), match[2])
    if name.startswith("torchvision:"):
        model, _, weights = name.removeprefix("torchvision:").partition("@")
        return ModelName(name, TORCHVISION, model, weights=weights or None)
    if name.startswith(("rn-", "mlp-")):
        kind, _, rest = name.partition("-")
        return ModelName(name, RESNET if kind == "rn" else MLP, rest)
    family, _, size = name.rpartition(":")
    if family in (*ladder.FAMILIES, "") and ladder.is_size(size):
        return ModelName(name, LADDER, size, family=family or "gpt2")
    if _is_path(name) or ":" not in name:
        return _place(name, name)
    if family in ladder.FAMILIES:
        ladder.parse_size(size)  # refuses it
    return ModelName(name, FUNCTION, name)


def _place(text: str, name: str) -> ModelName:
    if not name.startswith(HUB) and not Path(name).expanduser().exists() and not _is_path(name):
        near = near_paths(Path(name))
        hint = f" (near it: {', '.join(map(str, near))})" if near else ""
        hub = f", or hf:{name} for the hub" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
        raise InputError(f"model {name!r} is unknown: no such path{hint} and no other form; give {FORMS}{hub}")
    place = locate(name)
    if isinstance(place, str):
        return ModelName(text, CHECKPOINT, place)
    if not place.is_dir():
        raise InputError(f"{place} is a file, not a model; give its folder, or torchvision:NAME@{place}")
    if is_artifact(place) or (place / "spec.json").is_file():  # which is refused where it lost its meta.json
        return ModelName(text, ARTIFACT, str(place))
    if not (place / "config.json").is_file():
        inside = [
            str(p) for p in sorted(place.iterdir()) if (p / "meta.json").is_file() or (p / "config.json").is_file()
        ]
        hint = f"; in it: {', '.join(inside[:3])}" if inside else ""
        raise InputError(
            f"{place} is neither a model artefact nor a checkpoint: it has no meta.json and no config.json{hint}; "
            "give the folder of one"
        )
    return ModelName(text, CHECKPOINT, str(place))


def _adapters(text: str, rank: int, base: str) -> ModelName:
    if rank < 1 or not base.startswith(HUB) or base == HUB:
        raise InputError(f"model {text!r}: adapters stand beside a checkpoint; write lora-8:hf:NAME_OR_FOLDER")
    base_model = _place(text, base)
    if base_model.kind == ARTIFACT and not (Path(base_model.value) / "config.json").is_file():
        raise InputError(f"model {text!r}: {base_model.value} is no checkpoint of transformers; adapters need one")
    return ModelName(text, ADAPTERS, base_model.value, rank=rank)


def _is_path(name: str) -> bool:
    """Written as a path: from the root, the home or here, or from a folder that is here."""
    first = Path(name).parts[0]
    return name.startswith(("/", ".", "~")) or Path(name).exists() or ("/" in name and Path(first).is_dir())
