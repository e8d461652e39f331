"""What training data did to a model: per-example gradients, TRAK features, scores, search."""

from typing import TYPE_CHECKING, Any

from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import FeatureStore, open_features
from thresher.attribution.scoring.index import build_index, search
from thresher.attribution.scoring.scores import score, self_influence
from thresher.scores import read_scores

if TYPE_CHECKING:
    from thresher.attribution.traker import TRAKer

__all__ = [
    "FeatureStore",
    "TRAKer",
    "build_index",
    "featurize",
    "open_features",
    "read_scores",
    "score",
    "search",
    "self_influence",
]


def __getattr__(name: str) -> Any:
    """`TRAKer`, whose parts load traker, on first use."""
    if name != "TRAKer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from thresher.attribution.traker import TRAKer

    return TRAKer
