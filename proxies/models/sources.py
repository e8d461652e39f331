"""Where models come from: how each source is described for some examples, and how its model is built.

Your own function is called with keywords. Text: `vocab_size=..., sequence_length=...`; `model(input_ids=...)` gives the
logits [b, t, v]. Texts with a class each: `num_classes=...` too; `model(input_ids=..., attention_mask=...)` gives the
logits [b, classes]. Images: `num_classes=..., image_shape=(c, h, w)`; `model(pixel_values)` gives the same.
"""

import importlib
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from thresher.canonical import hash_json
from thresher.errors import InputError
from thresher.proxies.models import completep, ladder, mlp, names, vision
from thresher.proxies.models.checkpoints import adapters, pretrained
from thresher.proxies.models.checkpoints.architecture import CLASSIFIER
from thresher.proxies.models.fits import Spec
from thresher.proxies.models.names import ModelName

LOGGER = logging.getLogger(__name__)
FOREIGN = ("pretrained", "lora", "torchvision", "function")
"""Sources of models that others made, which are tried (`probe`) before they are used."""


def describe(parsed: ModelName, spec: Spec) -> Spec:
    """What the source of `parsed` adds to a specification that holds the task and sizes of the examples.

    Raises InputError where the name means nothing to its source.
    """
    return DESCRIBERS[parsed.kind](parsed, spec)


def build(spec: Spec, *, empty: bool) -> nn.Module:
    """The model of `spec` as its source makes it, from the global generators; `empty`: without a checkpoint's weights.

    Raises InputError where a checkpoint has changed since it was described.
    """
    return BUILDERS[spec["source"]](spec, empty)


def import_function(name: str) -> Callable[..., Any]:
    """The function that `module:function` names; raises InputError where it cannot be imported."""
    module, _, attribute = str(name).partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(f"model {name!r}: {module} is of Python itself and makes no models; pass a module of your own")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"model {name!r}: {error}; pass module:function that can be imported from here") from None


def _describe_pretrained(parsed: ModelName, spec: Spec) -> Spec:
    return {"source": "pretrained", **pretrained.describe(parsed.value, spec["task"])}


def _describe_adapters(parsed: ModelName, spec: Spec) -> Spec:
    return adapters.describe(parsed, spec["task"])


def _describe_torchvision(parsed: ModelName, spec: Spec) -> Spec:
    # Importing torchvision doubles the time that a command takes to start.
    from thresher.proxies.models.checkpoints import torchvision_weights

    return torchvision_weights.describe(parsed.value, parsed.weights)


def _describe_ladder(parsed: ModelName, spec: Spec) -> Spec:
    sizes = {key: spec[key] for key in ("vocab_size", "sequence_length")}
    return {"source": "ladder", "config": ladder.language_config(parsed.value, family=parsed.family, **sizes)}


def _describe_resnet(parsed: ModelName, spec: Spec) -> Spec:
    return {"source": "resnet", "multiplier": str(vision.parse_multiplier(parsed.value))}


def _describe_mlp(parsed: ModelName, spec: Spec) -> Spec:
    width, depth = mlp.parse_mlp(parsed.value)
    return {"source": "mlp", "width": width, "depth": depth}


def _describe_function(parsed: ModelName, spec: Spec) -> Spec:
    import_function(parsed.value)
    code = code_of(parsed.value)
    return {"source": "function", "function": parsed.value} | ({"code": code} if code else {})


def code_of(name: str) -> str | None:
    """The hash of the code of `module:function`: that of its module, and of the one that defines it, if it is another.

    What these import is not looked into. None where Python knows no source.
    """
    function, module = import_function(name), name.partition(":")[0]
    sources = []
    for place in dict.fromkeys((module, getattr(function, "__module__", None) or module)):
        try:
            sources.append([line.rstrip() for line in inspect.getsource(sys.modules[place]).splitlines()])
        except (OSError, TypeError, KeyError):
            continue
    return hash_json(sources) if sources else None


def _build_ladder(spec: Spec, empty: bool) -> nn.Module:
    model: Any = pretrained.from_config(spec["config"], spec["task"])
    if spec.get("parametrization") == "completep":
        completep.parametrize(model, width=model.config.hidden_size, depth=model.config.num_hidden_layers)
    return model


def _build_pretrained(spec: Spec, empty: bool) -> nn.Module:
    return pretrained.from_config(spec["config"], spec["task"]) if empty else pretrained.load_described(spec)


def _build_adapters(spec: Spec, empty: bool) -> nn.Module:
    return adapters.build(spec)


def _build_resnet(spec: Spec, empty: bool) -> nn.Module:
    multiplier, channels = vision.parse_multiplier(spec["multiplier"]), spec["image_shape"][0]
    return vision.ResNet18(multiplier, num_classes=spec["num_classes"], num_channels=channels)


def _build_mlp(spec: Spec, empty: bool) -> nn.Module:
    num_inputs = mlp.num_inputs_of(tuple(spec["image_shape"]))
    return mlp.mlp(num_inputs, spec["num_classes"], width=spec["width"], depth=spec["depth"])


def _build_torchvision(spec: Spec, empty: bool) -> nn.Module:
    from thresher.proxies.models.checkpoints import torchvision_weights

    if "file" in spec and not empty:
        return torchvision_weights.load_described(spec)
    return torchvision_weights.build(spec["model"], num_classes=spec["num_classes"])


def _build_function(spec: Spec, empty: bool) -> nn.Module:
    if spec["task"] != "vision":
        sizes = {"vocab_size": spec["vocab_size"], "sequence_length": spec["sequence_length"]}
        sizes |= {"num_classes": spec["num_classes"]} if spec["task"] == CLASSIFIER else {}
    else:
        sizes = {"num_classes": spec["num_classes"], "image_shape": tuple(spec["image_shape"])}
    function = import_function(spec["function"])
    if spec.get("code") not in (None, code_of(spec["function"])):
        LOGGER.warning(
            "%s is of other code than when this model was made; where that changes what the model does, train it again",
            spec["function"],
        )
    try:
        inspect.signature(function).bind(**sizes)
    except (TypeError, ValueError):
        raise InputError(
            f"model {spec['function']!r} does not take {', '.join(sizes)}; give a function that does"
        ) from None
    model = function(**sizes)
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec['function']} returned a {type(model).__name__}; it must return a torch.nn.Module")
    return model


DESCRIBERS: dict[str, Callable[[ModelName, Spec], Spec]] = {
    names.CHECKPOINT: _describe_pretrained,
    names.ADAPTERS: _describe_adapters,
    names.TORCHVISION: _describe_torchvision,
    names.LADDER: _describe_ladder,
    names.RESNET: _describe_resnet,
    names.MLP: _describe_mlp,
    names.FUNCTION: _describe_function,
}
"""By kind of name (`proxies.models.names`)."""
BUILDERS: dict[str, Callable[[Spec, bool], nn.Module]] = {
    "ladder": _build_ladder,
    "pretrained": _build_pretrained,
    "lora": _build_adapters,
    "resnet": _build_resnet,
    "mlp": _build_mlp,
    "torchvision": _build_torchvision,
    "function": _build_function,
}
"""By the `source` of a specification; the flag is `empty`."""
