"""What a report says of targets that leak into the pool, and of the gain without what leaks."""

from pathlib import Path

from thresher.intervals import MeanInterval
from thresher.studies.experiments.clean_gain import clean_gain, leaked_examples
from thresher.studies.loop import StudyResult
from thresher.studies.report.content import Leak
from thresher.studies.study import BASELINE, Study


def leaks_of(result: StudyResult) -> list[Leak] | None:
    """What every target shares with the pool's source; None where that was not looked for."""
    overlap = result.prepared.overlap
    if overlap is None:
        return None
    return [
        Leak(
            target=name,
            num_examples=found["examples"],
            num_examples_hit=found["examples_hit"],
            num_documents_hit=found["documents_hit"],
            num_words=overlap.meta["config"]["ngram"],
            left_out="overlap" in result.prepared.pool.artifact.meta["inputs"],
        )
        for name, found in overlap.facts["targets"].items()
    ]


def clean_of(study: Study, result: StudyResult, root: Path) -> MeanInterval | None:
    """The gain on held-out examples that are not known to leak."""
    if result.prepared.overlap is None:
        return None
    leaked = leaked_examples(result.prepared.overlap)
    return clean_gain(result.validation, root / "evaluations", leaked, study.select.method, BASELINE)


def all_known(result: StudyResult) -> bool:
    """Whether every held-out example that leaks is known by its place, so that none is left in a clean gain."""
    overlap = result.prepared.overlap
    if overlap is None:
        return True
    leaked = leaked_examples(overlap)
    return all(len(leaked[name]) == found["examples_hit"] for name, found in overlap.facts["targets"].items())
