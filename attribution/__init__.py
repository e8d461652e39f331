"""What training data did to a model: per-example gradients, TRAK features, scores, search, and how good scores are.

`featurize` writes the projected gradients of a pool and of a target for some checkpoints, `open_features` reads them,
and `score` says how much each pool example helps the target. `score_dual` and `score_by_direction` score without
stored features, `score_by_unrolling` by going back through training. `lds_table` compares scores with what retraining
does. `TRAKer` takes the place of traker's class.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.attribution.curvature.by_token import slopes_by_token
    from thresher.attribution.curvature.inverse import Solving
    from thresher.attribution.curvature.store import CurvatureStore, fit_curvature, open_curvature
    from thresher.attribution.features.featurize import featurize
    from thresher.attribution.features.store import FeatureStore, open_features
    from thresher.attribution.gradients.blocks import two_sided_blocks
    from thresher.attribution.gradients.engine import GradientEngine
    from thresher.attribution.gradients.factored import GradientReader
    from thresher.attribution.gradients.featurizer import Featurizer
    from thresher.attribution.gradients.projection import check_projection, make_projector
    from thresher.attribution.gradients.slopes import Slopes
    from thresher.attribution.gradients.streamed import SumOfSketches
    from thresher.attribution.gradients.views import viewed
    from thresher.attribution.quality.agreement import jaccard, rank_biased_overlap, top_k
    from thresher.attribution.quality.lds import (
        draw_subsets,
        lds,
        lds_table,
        level_share,
        noise_ceiling,
        predict_outputs,
        without_level,
    )
    from thresher.attribution.scoring.curvature import curvature_scores, score_by_curvature
    from thresher.attribution.scoring.direction import score_by_direction
    from thresher.attribution.scoring.dual import dual_scores, score_dual
    from thresher.attribution.scoring.index import build_index, search
    from thresher.attribution.scoring.kernel import Kernel, fit_kernel, usual_damping
    from thresher.attribution.scoring.options import Options
    from thresher.attribution.scoring.reliability import agreement_of
    from thresher.attribution.scoring.scores import score, score_blocks, self_influence
    from thresher.attribution.scoring.similarity import gradient_norms, kernel_directions, mean_cosines
    from thresher.attribution.scoring.traker_backend import score_with_traker
    from thresher.attribution.traker import TRAKer
    from thresher.attribution.unrolling.replay import ModelReplay, Replay
    from thresher.attribution.unrolling.scores import Unrolling, outcome_gradients, score_by_unrolling
    from thresher.attribution.unrolling.smoothness import smoothness_of
    from thresher.attribution.unrolling.sweep import Window, keep_states, state_file, unroll
    from thresher.scores import read_scores

__all__ = [
    "CurvatureStore",
    "FeatureStore",
    "Featurizer",
    "GradientEngine",
    "GradientReader",
    "Kernel",
    "ModelReplay",
    "Options",
    "Replay",
    "Slopes",
    "Solving",
    "SumOfSketches",
    "TRAKer",
    "Unrolling",
    "Window",
    "agreement_of",
    "build_index",
    "check_projection",
    "curvature_scores",
    "draw_subsets",
    "dual_scores",
    "featurize",
    "fit_curvature",
    "fit_kernel",
    "gradient_norms",
    "jaccard",
    "keep_states",
    "kernel_directions",
    "lds",
    "lds_table",
    "level_share",
    "make_projector",
    "mean_cosines",
    "noise_ceiling",
    "open_curvature",
    "open_features",
    "outcome_gradients",
    "predict_outputs",
    "rank_biased_overlap",
    "read_scores",
    "score",
    "score_blocks",
    "score_by_curvature",
    "score_by_direction",
    "score_by_unrolling",
    "score_dual",
    "score_with_traker",
    "search",
    "self_influence",
    "slopes_by_token",
    "smoothness_of",
    "state_file",
    "top_k",
    "two_sided_blocks",
    "unroll",
    "usual_damping",
    "viewed",
    "without_level",
]

__getattr__ = lazy(
    __name__,
    {
        "CurvatureStore": "thresher.attribution.curvature.store",
        "Solving": "thresher.attribution.curvature.inverse",
        "curvature_scores": "thresher.attribution.scoring.curvature",
        "fit_curvature": "thresher.attribution.curvature.store",
        "open_curvature": "thresher.attribution.curvature.store",
        "score_by_curvature": "thresher.attribution.scoring.curvature",
        "slopes_by_token": "thresher.attribution.curvature.by_token",
        "viewed": "thresher.attribution.gradients.views",
        "FeatureStore": "thresher.attribution.features.store",
        "Featurizer": "thresher.attribution.gradients.featurizer",
        "GradientEngine": "thresher.attribution.gradients.engine",
        "GradientReader": "thresher.attribution.gradients.factored",
        "Kernel": "thresher.attribution.scoring.kernel",
        "ModelReplay": "thresher.attribution.unrolling.replay",
        "Replay": "thresher.attribution.unrolling.replay",
        "Unrolling": "thresher.attribution.unrolling.scores",
        "Window": "thresher.attribution.unrolling.sweep",
        "keep_states": "thresher.attribution.unrolling.sweep",
        "outcome_gradients": "thresher.attribution.unrolling.scores",
        "smoothness_of": "thresher.attribution.unrolling.smoothness",
        "state_file": "thresher.attribution.unrolling.sweep",
        "unroll": "thresher.attribution.unrolling.sweep",
        "score_by_unrolling": "thresher.attribution.unrolling.scores",
        "Options": "thresher.attribution.scoring.options",
        "Slopes": "thresher.attribution.gradients.slopes",
        "TRAKer": "thresher.attribution.traker",
        "build_index": "thresher.attribution.scoring.index",
        "check_projection": "thresher.attribution.gradients.projection",
        "draw_subsets": "thresher.attribution.quality.lds",
        "dual_scores": "thresher.attribution.scoring.dual",
        "featurize": "thresher.attribution.features.featurize",
        "fit_kernel": "thresher.attribution.scoring.kernel",
        "gradient_norms": "thresher.attribution.scoring.similarity",
        "jaccard": "thresher.attribution.quality.agreement",
        "kernel_directions": "thresher.attribution.scoring.similarity",
        "lds": "thresher.attribution.quality.lds",
        "lds_table": "thresher.attribution.quality.lds",
        "level_share": "thresher.attribution.quality.lds",
        "without_level": "thresher.attribution.quality.lds",
        "make_projector": "thresher.attribution.gradients.projection",
        "mean_cosines": "thresher.attribution.scoring.similarity",
        "noise_ceiling": "thresher.attribution.quality.lds",
        "open_features": "thresher.attribution.features.store",
        "predict_outputs": "thresher.attribution.quality.lds",
        "rank_biased_overlap": "thresher.attribution.quality.agreement",
        "read_scores": "thresher.scores",
        "score": "thresher.attribution.scoring.scores",
        "score_blocks": "thresher.attribution.scoring.scores",
        "score_by_direction": "thresher.attribution.scoring.direction",
        "score_dual": "thresher.attribution.scoring.dual",
        "score_with_traker": "thresher.attribution.scoring.traker_backend",
        "search": "thresher.attribution.scoring.index",
        "self_influence": "thresher.attribution.scoring.scores",
        "top_k": "thresher.attribution.quality.agreement",
        "SumOfSketches": "thresher.attribution.gradients.streamed",
        "agreement_of": "thresher.attribution.scoring.reliability",
        "two_sided_blocks": "thresher.attribution.gradients.blocks",
        "usual_damping": "thresher.attribution.scoring.kernel",
    },
)
