"""Thresher: find the training data that matters, at proxy cost.

    import thresher
    result = thresher.attribute(model, train, test)
    result.top(test=17, k=5)
    kept = result.select(0.2)

`attribute` works on any model and data in memory. The other verbs are the steps of the loop on disk, each resumable:
`prepare`, `train`, `featurize`, `score` (or `self_influence`), `build_index`, `search`, `explore`, `select`,
`validate`, `lds`, `propose_mixture`, or all of them by `run_study`. Each gives a typed handle, and `open` gives the
handle of any path.
Every error that a user can cause is an `InputError` of one line. Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from thresher.errors import InputError
from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.api.attribute import attribute
    from thresher.api.checkpoint import Checkpoint
    from thresher.api.exploring import explore
    from thresher.api.featurizing import featurize
    from thresher.api.handle import Handle
    from thresher.api.handles import (
        Examples,
        FeatureStore,
        Index,
        Model,
        Neighbours,
        Quality,
        Scores,
        Selection,
        Validation,
        open,
    )
    from thresher.api.judging import lds, validate
    from thresher.api.preparing import prepare
    from thresher.api.result import Attribution
    from thresher.api.scoring import score, self_influence
    from thresher.api.searching import build_index, search
    from thresher.api.selecting import propose_mixture, select
    from thresher.api.training import train
    from thresher.attribution.traker import TRAKer
    from thresher.proxies.training.config import TrainConfig
    from thresher.studies.loop import run_study
    from thresher.studies.study_file import read_study
    from thresher.workspace import Workspace

__version__ = "0.1.0"

__all__ = [
    "Attribution",
    "Checkpoint",
    "Examples",
    "FeatureStore",
    "Handle",
    "Index",
    "InputError",
    "Model",
    "Neighbours",
    "Quality",
    "Scores",
    "Selection",
    "TRAKer",
    "TrainConfig",
    "Validation",
    "Workspace",
    "attribute",
    "build_index",
    "explore",
    "featurize",
    "lds",
    "open",
    "prepare",
    "propose_mixture",
    "read_study",
    "run_study",
    "score",
    "search",
    "select",
    "self_influence",
    "train",
    "validate",
]

__getattr__ = lazy(
    __name__,
    {
        "Attribution": "thresher.api.result",
        "Checkpoint": "thresher.api.checkpoint",
        "Handle": "thresher.api.handle",
        "TRAKer": "thresher.attribution.traker",
        "TrainConfig": "thresher.proxies.training.config",
        "Workspace": "thresher.workspace",
        "attribute": "thresher.api.attribute",
        "explore": "thresher.api.exploring",
        "featurize": "thresher.api.featurizing",
        "prepare": "thresher.api.preparing",
        "read_study": "thresher.studies.study_file",
        "run_study": "thresher.studies.loop",
        "train": "thresher.api.training",
    }
    | dict.fromkeys(
        "Examples FeatureStore Index Model Neighbours Quality Scores Selection Validation open".split(),
        "thresher.api.handles",
    )
    | dict.fromkeys("score self_influence".split(), "thresher.api.scoring")
    | dict.fromkeys("build_index search".split(), "thresher.api.searching")
    | dict.fromkeys("propose_mixture select".split(), "thresher.api.selecting")
    | dict.fromkeys("lds validate".split(), "thresher.api.judging"),
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
