"""What is trained: models of any size, one training loop, per-example evaluation, and what it all costs.

A name such as `0.4M` or `hf:gpt2` becomes a specification (`model_spec`), which `train` makes into a `model` artefact
under a `TrainConfig`; `open_model` opens it, `evaluate` and `measure` say what it makes of each example, and
`loaders_of` hands it to attribution. `ModelSettings` name a model and its training before the data are known.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.proxies.costs import selection_flops
    from thresher.proxies.evaluation import evaluate, evaluate_choices, means, measure
    from thresher.proxies.models.ladder import Shape, language_config, language_learning_rate, parse_size
    from thresher.proxies.models.spec import build_model, model_spec, num_parameters
    from thresher.proxies.models.weights import loaders_of, open_model, read_spec, save_model
    from thresher.proxies.settings import ModelSettings
    from thresher.proxies.training.config import TrainConfig
    from thresher.proxies.training.order import Order
    from thresher.proxies.training.single import train
    from thresher.proxies.training.trainer import Trainer
    from thresher.proxies.trials import Trial, train_trial, train_trials

__all__ = [
    "ModelSettings",
    "Order",
    "Shape",
    "TrainConfig",
    "Trainer",
    "Trial",
    "build_model",
    "evaluate",
    "evaluate_choices",
    "language_config",
    "language_learning_rate",
    "loaders_of",
    "means",
    "measure",
    "model_spec",
    "num_parameters",
    "open_model",
    "parse_size",
    "read_spec",
    "save_model",
    "selection_flops",
    "train",
    "train_trial",
    "train_trials",
]

__getattr__ = lazy(
    __name__,
    {
        "Order": "thresher.proxies.training.order",
        "Shape": "thresher.proxies.models.ladder",
        "Trainer": "thresher.proxies.training.trainer",
        "Trial": "thresher.proxies.trials",
        "ModelSettings": "thresher.proxies.settings",
        "TrainConfig": "thresher.proxies.training.config",
        "build_model": "thresher.proxies.models.spec",
        "evaluate": "thresher.proxies.evaluation",
        "evaluate_choices": "thresher.proxies.evaluation",
        "language_config": "thresher.proxies.models.ladder",
        "language_learning_rate": "thresher.proxies.models.ladder",
        "loaders_of": "thresher.proxies.models.weights",
        "means": "thresher.proxies.evaluation",
        "measure": "thresher.proxies.evaluation",
        "model_spec": "thresher.proxies.models.spec",
        "num_parameters": "thresher.proxies.models.spec",
        "open_model": "thresher.proxies.models.weights",
        "parse_size": "thresher.proxies.models.ladder",
        "read_spec": "thresher.proxies.models.weights",
        "save_model": "thresher.proxies.models.weights",
        "selection_flops": "thresher.proxies.costs",
        "train": "thresher.proxies.training.single",
        "train_trial": "thresher.proxies.trials",
        "train_trials": "thresher.proxies.trials",
    },
)
