"""Models by their names, for prepared data: with weights from a file where the name brings none."""

from pathlib import Path
from typing import Any

from torch import nn

from thresher.api.handles import Examples
from thresher.api.weights import load_into
from thresher.errors import InputError
from thresher.proxies.models import names
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.sources import import_function
from thresher.proxies.models.spec import build_model, model_spec, read_artifact_spec
from thresher.proxies.models.weights import loaders_of


def arguments_from(function: str) -> dict[str, Any]:
    """The arguments of `attribute` that `module:function` returns: (model, train, test), or a dict with these.

    Raises InputError for a function that cannot be imported or returns anything else.
    """
    made = import_function(function)()
    if isinstance(made, tuple) and len(made) == 3:
        return dict(zip(("model", "train", "test"), made, strict=True))
    if not isinstance(made, dict) or not {"model", "train", "test"} <= made.keys():
        raise InputError(f"{function} gave a {type(made).__name__}; return (model, train, test) or a dict of them")
    return made


def task_named(model: str) -> str:
    """The task that a model's name says: language for checkpoints and the ladder, vision for models of images."""
    parsed = names.parse(model)
    if parsed.kind == names.ARTIFACT:
        return read_artifact_spec(parsed.value)["task"]
    return "language" if parsed.kind in (names.CHECKPOINT, names.LADDER) else "vision"


def model_named(model: str, weights: Path | None, train: Examples, test: Examples) -> nn.Module:
    """The trained model of a name, as it reads both data sets. Raises InputError for a name without weights."""
    both = train.load(), test.load()
    parsed = names.parse(model)
    if weights is not None and parsed.kind == names.TORCHVISION:
        model = f"{model}@{weights}"
    elif weights is not None:
        if not parsed.is_untrained and parsed.kind != names.FUNCTION:
            raise InputError(f"model {model!r} has weights already; leave out --weights")
        spec = model_spec(model, both[0])
        check_all(spec, both)
        built = build_model(spec, seed=0).eval()
        load_into(built, weights, str(weights))
        return built
    return loaders_of([model], *both)[0][1]()
