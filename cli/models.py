"""Models named on the command line, as attribution takes them: what they hash to, and how to load them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from thresher.artifacts import hash_file, hash_json, is_artifact, open_artifact
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies import open_model, read_spec
from thresher.proxies.models import check_fits


def loaders_of(names: Sequence[str], examples: Examples | None = None) -> list[tuple[str, Callable[[], nn.Module]]]:
    """(content hash, loader) of each model: an artefact of `thresher train`, a checkpoint folder or a hub name.

    Models that cannot read `examples`, or read them with another tokenizer, are refused.
    """
    if not names:
        raise InputError("no model was given; give at least one model artefact or checkpoint")
    if examples is not None:
        for name in names:
            check_fits(read_spec(name), examples)
    return [(_hash_of(name), lambda name=name: open_model(name)) for name in names]


def _hash_of(name: str) -> str:
    path = Path(name)
    if is_artifact(path):
        return open_artifact(path, "model").content_hash
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".json"))
        return hash_json({file.name: hash_file(file) for file in files})
    if path.exists() or path.is_absolute() or name.startswith("."):
        raise InputError(f"{name} is no model; give a model artefact, a transformers checkpoint folder or a hub name")
    from huggingface_hub import model_info

    try:
        return str(model_info(name).sha)
    except Exception as error:
        raise InputError(
            f"{name} is neither a folder here nor a model that the hub gave ({type(error).__name__}); "
            "check the name and the network"
        ) from None
