"""The two demo studies: their data, their settings, and what only they can check."""

from pathlib import Path

from thresher.scores import open_scores
from thresher.studies.demo.text import write_text_demo
from thresher.studies.demo.vision import flips_found, write_vision_demo
from thresher.studies.loop import StudyResult
from thresher.studies.report.content import NoisyLabels
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


def text_study(source: Path, seed: int) -> Study:
    """The study of the language demo, on the data under `source`.

    Four arms of four seeds, two of them simple ways to choose by text: about as many trainings as three arms of five.
    """
    return Study(
        name="demo-language",
        seed=seed,
        vocab_size=1024,
        sequence_length=128,
        pool=PoolTable(data=str(source / "pool.parquet"), id="id", domain="domain", holdout=0.05, decontaminate=True),
        target={"documentation": TargetTable(data=str(source / "target.parquet"), id="id")},
        proxy=ProxyTable(size="0.05M", count=2, epochs=1),
        reference=ReferenceTable(size="0.6M", seeds=4),
        attribution=AttributionTable(k=256),
        select=SelectTable(fraction=0.2),
        validate=ValidateTable(controls=["bm25", "classifier"]),
    )


def vision_study(source: Path, seed: int) -> Study:
    """The study of the vision demo, on the data under `source`."""
    return Study(
        name="demo-vision",
        task="vision",
        seed=seed,
        pool=PoolTable(data=str(source / "pool.parquet"), id="id", holdout=0),
        target={"digits": TargetTable(data=str(source / "target.parquet"), id="id")},
        proxy=ProxyTable(size="mlp-32x1", count=5, fraction=0.5, epochs=20, batch_size=32, learning_rate=0.02),
        reference=ReferenceTable(size="mlp-256x2", epochs=20, seeds=5, batch_size=32, learning_rate=0.02),
        attribution=AttributionTable(k=2048),
        select=SelectTable(fraction=0.8),
    )


def find_flips(source: Path, result: StudyResult, seed: int) -> NoisyLabels:
    """How well the scores of the vision demo find the labels that were flipped on purpose."""
    scores = open_scores(result.scores.path)
    return flips_found(source / "pool.parquet", scores.ids, scores.by_target["digits"], seed=seed)


DEMOS = {
    "language": (write_text_demo, text_study, lambda source, result, seed: None),
    "vision": (write_vision_demo, vision_study, find_flips),
}
