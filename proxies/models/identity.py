"""What a trained model is known by: a hash of its weights and of how they are used, wherever they lie."""

import hashlib
from pathlib import Path

import torch

from thresher.artifacts import open_artifact
from thresher.canonical import hash_json
from thresher.proxies.models import names
from thresher.proxies.models.checkpoints.tensors import own_tensors
from thresher.proxies.models.spec import Spec, build_model

# What a specification says of where a model was found, not of what it is.
PLACES = ("name", "checkpoint", "file")


def content_hash_of(name: str, spec: Spec) -> str:
    """The hash of the trained model that `name` means and `spec` describes; equal for equal numbers used alike.

    An artefact knows its own. Of a checkpoint and of torchvision's weights the specification holds a hash of the
    weights already. A model of your own function is built, and its tensors are hashed.
    """
    parsed = names.parse(name, trained=True)
    if parsed.kind == names.ARTIFACT:
        return open_artifact(Path(parsed.value), "model").content_hash
    if parsed.kind == names.FUNCTION:
        return hash_of_function(spec)
    return hash_json({key: value for key, value in spec.items() if key not in PLACES})


def hash_of_function(spec: Spec) -> str:
    """The hash of names, shapes and bytes of all tensors of the model that your own function returns, and its code."""
    digest = hashlib.sha256(spec.get("code", "").encode())
    for name, tensor in own_tensors(build_model(spec, seed=0)).items():
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
