"""One training loop: settings, the order of the data, the objective, the loop, many small models at once."""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.proxies.training.config import TrainConfig
    from thresher.proxies.training.single import train

__all__ = ["TrainConfig", "train"]

__getattr__ = lazy(
    __name__, {"TrainConfig": "thresher.proxies.training.config", "train": "thresher.proxies.training.single"}
)
