"""The verb that makes a page to look at."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thresher.api.checkpoint import names_of
from thresher.api.handle import Source
from thresher.api.handles import Examples, FeatureStore
from thresher.artifacts import Artifact
from thresher.progress import SILENT, Progress
from thresher.rules import ruled
from thresher.studies.explorer.explore import PAGE_MB, open_subject, write_explorer


@ruled
def explore(
    scores: Source | Any,
    pool: Source,
    targets: Mapping[str, Source],
    *,
    out: str | Path,
    selection: Source | None = None,
    features: Source | None = None,
    target_features: Mapping[str, Source] | None = None,
    models: Any = (),
    lds: Source | None = None,
    page_mb: float = PAGE_MB,
    top: int = 20,
    title: str = "",
    device: str = "auto",
    progress: Progress = SILENT,
) -> Path:
    """Write one page at `out` in which a person sees what helped and what hurt; gives its path.

    scores    what `score` or `self_influence` gave, or an `Attribution` of one target
    pool, targets  the prepared examples that were scored, targets by their names
    selection what was kept
    features, target_features  what the scores were made from: adds single target examples and the spread over proxies
    models    one or several, whose predictions of labelled examples are shown
    lds       from `lds`, which measured such scores
    page_mb   megabytes of data; what has no room is said in the page
    top       pool examples of each side for every single target example

    Raises InputError for what is not of the same examples, and where a file is at `out` that is not such a page.
    """
    stores = {name: FeatureStore.of(one).path for name, one in (target_features or {}).items()}
    subject = open_subject(
        _path(scores),
        pool=Examples.of(pool).path,
        targets={name: Examples.of(one).path for name, one in targets.items()},
        selection=None if selection is None else _path(selection),
        features=None if features is None else FeatureStore.of(features).path,
        target_features=stores,
        models=names_of(models),
        lds=None if lds is None else _path(lds),
        commands={"select": shlex.join(["thresher", "select", "--scores", _path(scores).name, "--out", "subset"])},
        title=title,
        top=top,
        device=device,
        progress=progress,
    )
    return Path(write_explorer(subject, Path(out), page_mb)["explorer"])


def _path(source: Any) -> Path:
    """Of a path, an artefact, a handle or an attribution."""
    if isinstance(source, Artifact):
        return source.path
    return Path(source.path if hasattr(source, "path") else os.fspath(source)).expanduser()
