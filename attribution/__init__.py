"""What training data did to a model: per-example gradients, TRAK features, scores, search."""

from thresher.attribution.features import FeatureStore, featurize, open_features
from thresher.attribution.index import build_index, search
from thresher.attribution.scores import read_scores, score, self_influence

__all__ = [
    "FeatureStore",
    "build_index",
    "featurize",
    "open_features",
    "read_scores",
    "score",
    "search",
    "self_influence",
]
