"""Models named on the command line, as attribution takes them: what they hash to, and how to load them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from thresher.artifacts import hash_json, open_artifact
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies import open_model, read_spec
from thresher.proxies.models import names
from thresher.proxies.models.fits import check_alike, check_all
from thresher.proxies.models.probe import refuse_constant
from thresher.proxies.models.spec import Spec
from thresher.proxies.models.weights import hash_of_function

Loaders = list[tuple[str, Callable[[], nn.Module]]]


def loaders_of(models: Sequence[str], examples: Examples, *others: Examples) -> Loaders:
    """(content hash, loader) of each model (see `proxies.names`), as they read the examples, pool and targets alike.

    Refuses models that cannot read all of them, or would read them as something else.
    """
    if not models:
        raise InputError("no model was given; give at least one model artefact or checkpoint")
    for other in others:
        check_alike(examples, other)
    loaders: Loaders = []
    for name in models:
        spec = read_spec(name, examples)
        check_all(spec, (examples, *others))
        loaders.append((_hash_of(name, spec), lambda name=name: _opened(name, examples)))
    return loaders


def _opened(name: str, examples: Examples) -> nn.Module:
    model = open_model(name, examples)
    refuse_constant(model, examples, name)
    return model


def _hash_of(name: str, spec: Spec) -> str:
    """Of the weights, and of how they are used: the same for the same numbers, wherever they lie."""
    parsed = names.parse(name, trained=True)
    if parsed.kind == names.ARTIFACT:
        return open_artifact(Path(parsed.value), "model").content_hash
    if parsed.kind == names.FUNCTION:
        return hash_of_function(spec)
    used = {key: value for key, value in spec.items() if key not in ("name", "checkpoint", "file")}
    return hash_json(used)
