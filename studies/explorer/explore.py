"""An explorer written or served, from paths: what `thresher explore`, `thresher.explore` and every study call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.artifacts import open_artifact
from thresher.attribution.features.store import open_features
from thresher.data.examples import as_scored, open_examples
from thresher.errors import InputError
from thresher.places import own_file
from thresher.progress import SILENT, Progress
from thresher.scores import open_scores
from thresher.selection.selection import open_selection
from thresher.studies.explorer.content import content_of
from thresher.studies.explorer.page import page_of
from thresher.studies.explorer.room import MEGABYTE
from thresher.studies.explorer.subject import Subject

PAGE_MB = 5.0
"""Of the data in a page: what a mail carries, and a browser reads in a blink."""


def open_subject(
    scores: Path,
    *,
    pool: Path,
    targets: Mapping[str, Path],
    selection: Path | None = None,
    features: Path | None = None,
    target_features: Mapping[str, Path] | None = None,
    models: Sequence[str] = (),
    lds: Path | None = None,
    commands: Mapping[str, str] | None = None,
    title: str = "",
    top: int = 20,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Subject:
    """The subject of these artefacts; the arguments are those of `thresher explore`.

    Raises InputError for one that is missing, of another kind, or not of the same pool and targets as the scores, and
    for features of the pool without those of a target, or the other way round.
    """
    if (features is None) != (not target_features):
        raise InputError("features are of pool and targets together; give --features and --target-features, or neither")
    artifact, examples = open_artifact(scores), open_examples(pool)
    if artifact.kind == "scores":
        examples = as_scored(examples, open_scores(scores).ids)
    return Subject(
        scores=artifact,
        pool=examples,
        targets={name: open_examples(path) for name, path in targets.items()},
        selection=None if selection is None else open_selection(selection),
        features=None if features is None else open_features(features),
        target_features={name: open_features(path) for name, path in (target_features or {}).items()},
        models=models,
        lds=None if lds is None else open_artifact(lds, "lds"),
        commands=commands or {},
        title=title or scores.name,
        top=top,
        device=device,
        progress=progress,
    )


def write_explorer(subject: Subject, out: Path, page_mb: float = PAGE_MB) -> dict[str, Any]:
    """Write the page to `out`; gives its path, its `megabytes`, and what is `missing` for want of room.

    Raises InputError where a file is at `out` that was not written by this program.
    """
    content = content_of(subject, int(page_mb * MEGABYTE))
    page = page_of(content)
    with own_file(out) as file:
        file.write_text(page, encoding="utf-8")
    megabytes = round(len(page.encode()) / MEGABYTE, 2)
    return {"explorer": str(out.resolve()), "megabytes": megabytes, "missing": content["about"]["missing"]}
