"""How a model is trained, from what was asked of it: the settings that are named, and the defaults for the others."""

import math
from dataclasses import asdict
from typing import Any

from thresher.data.examples import Examples, is_packed
from thresher.errors import InputError
from thresher.proxies.models.spec import Spec, model_spec, size_of
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.config import TrainConfig

LENGTHS = ("epochs", "steps", "num_tokens")
"""Settings of which one says how long a training is."""
ONLY_OF = {"momentum": "sgd", "betas": "adamw", "eps": "adamw"}
"""Settings that only one optimiser has."""


def spec_of(settings: ModelSettings, pool: Examples) -> Spec:
    """The description of the model of `settings` for the examples of a pool (`model_spec`)."""
    return model_spec(settings.size, pool, parametrization=settings.parametrization)


def train_config_of(settings: ModelSettings, spec: Spec, pool: Examples) -> TrainConfig:
    """How the model of `spec` is trained on a pool: by the defaults of its task, except for what `settings` says.

    Raises InputError for settings that cannot be, one by one or together.
    """
    wanted = {key: value for key, value in asdict(settings).items() if key in TrainConfig.__dataclass_fields__}
    return config_for(spec, pool, settings.tokens_per_parameter, **wanted)


def config_for(spec: Spec, pool: Examples, tokens_per_parameter: float | None = None, **wanted: Any) -> TrainConfig:
    """The defaults for the model of `spec`, with what is `wanted` and not None; so many tokens a parameter in all.

    Raises InputError as `train_config_of` does.
    """
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if "shuffle_sequences" in wanted and not is_packed(pool):
        kind = "images" if spec["task"] == "vision" else "texts that are a sequence each"
        raise InputError(f"shuffle_sequences is of documents, and the pool holds {kind}, in random order anyway")
    lengths = {"tokens_per_parameter": tokens_per_parameter} | {name: wanted.get(name) for name in LENGTHS}
    if len(said := [f"{name}={value}" for name, value in lengths.items() if value is not None]) > 1:
        raise InputError(f"{said[0]} and {said[1]} both say how long training is; leave one of them out")
    if tokens_per_parameter is not None:
        if spec["task"] == "vision":
            raise InputError(f"tokens_per_parameter is of text, and {spec['name']!r} reads images; give epochs instead")
        if isinstance(tokens_per_parameter, str | bool) or not 0 < tokens_per_parameter < math.inf:
            raise InputError(f"tokens_per_parameter={tokens_per_parameter}; pass a number above 0, such as 20")
        wanted["num_tokens"] = max(1, round(tokens_per_parameter * size_of(spec)["total"]))
    config = TrainConfig.for_task(spec["task"], **wanted).settled(spec, pool)
    for name in wanted:
        if name in ONLY_OF and ONLY_OF[name] != config.optimizer:
            raise InputError(
                f"{name}={wanted[name]} is of {ONLY_OF[name]}, and this is {config.optimizer}; leave it out"
            )
    return config


def usual_rate(settings: ModelSettings, pool: Examples) -> float:
    """The peak learning rate of a model of `settings` on `pool`: the one they name, or else the usual one."""
    spec = spec_of(settings, pool)
    return train_config_of(settings, spec, pool).peak_rate(spec)
