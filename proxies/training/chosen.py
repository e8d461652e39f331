"""How a model is trained, from what was asked of it: the settings that are named, and the defaults for the others."""

from dataclasses import asdict

from thresher.data.examples import Examples
from thresher.proxies.models.spec import Spec, model_spec
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.config import TrainConfig


def spec_of(settings: ModelSettings, pool: Examples) -> Spec:
    """The description of the model of `settings` for the examples of a pool (`model_spec`)."""
    return model_spec(settings.size, pool, parametrization=settings.parametrization)


def train_config_of(settings: ModelSettings, spec: Spec) -> TrainConfig:
    """How the model of `spec` is trained: by the defaults of its task, except for what `settings` says."""
    wanted = {key: value for key, value in asdict(settings).items() if key in TrainConfig.__dataclass_fields__}
    return TrainConfig.for_task(spec["task"], **{key: value for key, value in wanted.items() if value is not None})


def usual_rate(settings: ModelSettings, pool: Examples) -> float:
    """The peak learning rate of a model of `settings` on `pool`: the one they name, or else the usual one."""
    spec = spec_of(settings, pool)
    return train_config_of(settings, spec).peak_rate(spec)
