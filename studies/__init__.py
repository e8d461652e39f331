"""Experiments that stand on all parts: the whole loop, its studies, their reports.

A `Study` says everything of a run; `run_study` carries it out in a `Workspace`, stage by stage. `validate`, `retrain`
and `leave_out` are its experiments by themselves; `score_by` scores by any scorer, `Sources` and `select_from` make
selections from artefacts.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.studies.experiments.judged_size import judge_size
    from thresher.studies.experiments.lds import judge, train_checkpoints
    from thresher.studies.experiments.left_out import leave_out
    from thresher.studies.experiments.retraining import open_retrainings, retrain
    from thresher.studies.experiments.training_sets import TrainingSet, random_set, supply
    from thresher.studies.experiments.validation import ValidationPlan, read_runs, validate
    from thresher.studies.experiments.validation_facts import compare
    from thresher.studies.loop import run_study
    from thresher.studies.scoring.basis import Attribution, Basis
    from thresher.studies.scoring.combined import in_units_of_spread
    from thresher.studies.scoring.pairs import pairs_by
    from thresher.studies.scoring.replay import replay_of
    from thresher.studies.scoring.score import score_by
    from thresher.studies.selections.evidence import evidence_of
    from thresher.studies.selections.select import select_from
    from thresher.studies.selections.sources import Sources
    from thresher.studies.stages import POOL, featurize_study, train_proxies
    from thresher.studies.study import (
        AttributionTable,
        PoolTable,
        ProxyTable,
        ReferenceTable,
        SelectTable,
        Study,
        TargetTable,
        ValidateTable,
    )
    from thresher.studies.study_file import read_study

__all__ = [
    "POOL",
    "Attribution",
    "AttributionTable",
    "Basis",
    "PoolTable",
    "ProxyTable",
    "ReferenceTable",
    "SelectTable",
    "Sources",
    "Study",
    "TargetTable",
    "TrainingSet",
    "ValidateTable",
    "ValidationPlan",
    "compare",
    "evidence_of",
    "featurize_study",
    "in_units_of_spread",
    "judge",
    "judge_size",
    "leave_out",
    "open_retrainings",
    "pairs_by",
    "random_set",
    "read_runs",
    "read_study",
    "replay_of",
    "retrain",
    "run_study",
    "score_by",
    "select_from",
    "supply",
    "train_checkpoints",
    "train_proxies",
    "validate",
]

_HOMES = {
    "AttributionTable": "thresher.studies.study",
    "PoolTable": "thresher.studies.study",
    "ProxyTable": "thresher.studies.study",
    "ReferenceTable": "thresher.studies.study",
    "SelectTable": "thresher.studies.study",
    "Study": "thresher.studies.study",
    "TargetTable": "thresher.studies.study",
    "ValidateTable": "thresher.studies.study",
    "read_study": "thresher.studies.study_file",
    "POOL": "thresher.studies.stages",
    "featurize_study": "thresher.studies.stages",
    "run_study": "thresher.studies.loop",
    "train_proxies": "thresher.studies.stages",
    "evidence_of": "thresher.studies.selections.evidence",
    "select_from": "thresher.studies.selections.select",
    "Sources": "thresher.studies.selections.sources",
    "ValidationPlan": "thresher.studies.experiments.validation",
    "read_runs": "thresher.studies.experiments.validation",
    "judge_size": "thresher.studies.experiments.judged_size",
    "validate": "thresher.studies.experiments.validation",
    "compare": "thresher.studies.experiments.validation_facts",
    "TrainingSet": "thresher.studies.experiments.training_sets",
    "random_set": "thresher.studies.experiments.training_sets",
    "supply": "thresher.studies.experiments.training_sets",
    "Attribution": "thresher.studies.scoring.basis",
    "Basis": "thresher.studies.scoring.basis",
    "in_units_of_spread": "thresher.studies.scoring.combined",
    "pairs_by": "thresher.studies.scoring.pairs",
    "score_by": "thresher.studies.scoring.score",
    "judge": "thresher.studies.experiments.lds",
    "leave_out": "thresher.studies.experiments.left_out",
    "train_checkpoints": "thresher.studies.experiments.lds",
    "replay_of": "thresher.studies.scoring.replay",
    "open_retrainings": "thresher.studies.experiments.retraining",
    "retrain": "thresher.studies.experiments.retraining",
}

__getattr__ = lazy(__name__, _HOMES)
