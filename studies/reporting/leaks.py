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
            left_out=_is_left_out(result),
        )
        for name, found in overlap.facts["targets"].items()
    ]


def clean_of(study: Study, result: StudyResult, root: Path) -> tuple[MeanInterval | None, bool]:
    """The gain on held-out examples that are not known to leak, and whether all that leak are known by their place.

    No gain where nothing that leaks is in the pool.
    """
    overlap = result.prepared.overlap
    if overlap is None:
        return None, True
    leaked, found = leaked_examples(overlap), overlap.facts["targets"]
    is_whole = all(len(leaked[name]) == own["examples_hit"] for name, own in found.items())
    if _is_left_out(result) or not any(own["documents_hit"] for own in found.values()):
        return None, is_whole
    return clean_gain(result.validation, root / "evaluations", leaked, study.select.method, BASELINE), is_whole


def _is_left_out(result: StudyResult) -> bool:
    """Whether the pool was prepared without the documents that leak."""
    return "overlap" in result.prepared.pool.artifact.meta["inputs"]
