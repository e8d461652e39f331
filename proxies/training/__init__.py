"""One training loop: settings, the order of the data, the objective, the loop, many small models at once."""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.proxies.training.config import TrainConfig
    from thresher.proxies.training.order import Order
    from thresher.proxies.training.trainer import Trainer, train

__all__ = ["Order", "TrainConfig", "Trainer", "train"]

_HOMES = {
    "Order": "thresher.proxies.training.order",
    "TrainConfig": "thresher.proxies.training.config",
    "Trainer": "thresher.proxies.training.trainer",
    "train": "thresher.proxies.training.trainer",
}

__getattr__ = lazy(__name__, _HOMES)
