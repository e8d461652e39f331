"""Which command comes next: one that could be run as it stands, with the paths that are there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thresher.artifacts import Artifact, is_artifact, open_artifact
from thresher.cli.arguments import typed_path
from thresher.errors import InputError

MOST_TARGETS = 3
"""Named in one line."""
OF_IMAGES = {"train": "rn-1/16", "validate": "rn-1/4"}
"""What is trained on images; the models that commands train unasked read text. Classes of text need a checkpoint."""
HELD_OUT = ("held", "valid", "test", "dev")
"""What is in the names of examples that are kept for validation."""


def opening(page: str | Path) -> list[object]:
    """The line that opens a page in the browser of whoever reads it."""
    return ["python", "-m", "webbrowser", as_typed(page)]


def as_typed(path: str | Path) -> str:
    """A path as a person would type it: from the current folder where it lies below, else as it is."""
    place = Path(path)
    if place.is_absolute() and place.resolve().is_relative_to(Path.cwd()):
        return str(place.resolve().relative_to(Path.cwd()))
    return str(path)


def beside(path: Path, word: str) -> Path:
    """A place beside `path`, called after it and `word`, where nothing is yet."""
    number, place = 1, path.with_name(f"{path.name}-{word}")
    while place.exists():
        number += 1
        place = path.with_name(f"{path.name}-{word}-{number}")
    return place


def targets_of(pool: Path) -> dict[str, Path]:
    """Prepared examples beside a pool that are smaller and made alike, as its targets are: by name, the first few."""
    own = _prepared(pool)
    if own is None:
        return {}
    found = {}
    for path in sorted(pool.parent.iterdir()):
        other = None if path.name == pool.name or "=" in path.name else _prepared(path)
        if other and _alike(own, other) and 0 < other.facts["num_examples"] < own.facts["num_examples"]:
            found[path.name] = path
    return dict(list(found.items())[:MOST_TARGETS])


def unseen_targets(pool: Path, scores: Path) -> dict[str, Path]:
    """Those targets of a pool that scores, made from prepared examples, have not seen."""
    try:
        meta = json.dumps(open_artifact(scores).meta)
        if open_artifact(pool).content_hash not in meta:  # from features: what they were made from is not said
            return {}
        targets = targets_of(pool).items()
        return {name: path for name, path in targets if open_artifact(path).content_hash not in meta}
    except InputError:
        return {}


def named(paths: Mapping[str, Path]) -> list[str]:
    """NAME=PATH of each."""
    return [f"{name}={path}" for name, path in paths.items()]


def after_preparing(out: Path, tokenizer: str | None) -> list[object] | None:
    """Train on the pool: on what was prepared, or where that is a target on the pool whose tokenizer it has."""
    pool = out
    if tokenizer is not None:
        pool = typed_path(tokenizer.removesuffix("-tokenizer"))
        if not tokenizer.endswith("-tokenizer") or _kind(pool) != _kind(out):
            return None
    model = _model_for(pool, "train")
    return None if model is None else ["thresher", "train", "--pool", pool, *model, "--out", beside(pool, "proxy")]


def after_training(pool: Path, out: Path) -> list[object] | None:
    """Score the pool with the model, for the targets beside it that are not called as if they were kept for later."""
    targets = {name: path for name, path in targets_of(pool).items() if not any(word in name for word in HELD_OUT)}
    if not targets:
        return None
    given = ["--pool", pool, "--models", out, "--targets", *named(targets)]
    return ["thresher", "score", *given, "--out", beside(out, "scores")]


def after_scoring(pool: Path, out: Path) -> list[object]:
    """Keep the best fifth."""
    given: list[object] = ["--scores", out]
    if _prepared(pool) is not None:
        given += ["--pool", pool]
    return ["thresher", "select", *given, "--fraction", 0.2, "--out", beside(out, "selection")]


def after_selecting(pool: Path | None, scores: Path | None, out: Path) -> list[object] | None:
    """Validate on targets that the selection has not seen; where there are none, train on what it kept."""
    if pool is None:
        return None
    unseen = unseen_targets(pool, scores) if scores is not None else {}
    model = _model_for(pool, "validate" if unseen else "train")
    if model is None:
        return None
    if unseen:
        given: Sequence[object] = ["--pool", pool, "--arms", f"chosen={out}", "--targets", *named(unseen)]
        return ["thresher", "validate", *given, *model, "--out", beside(out, "validation")]
    return ["thresher", "train", "--pool", pool, "--selection", out, *model, "--out", beside(out, "model")]


def _model_for(pool: Path, command: str) -> list[object] | None:
    """The model that a command is told to train on a pool: none where its own reads that, None where none does."""
    kind = _kind(pool)
    return ["--model", OF_IMAGES[command]] if kind == "image-examples" else [] if kind == "text-examples" else None


def _kind(path: Path) -> str | None:
    artifact = _prepared(path)
    return None if artifact is None else artifact.kind


def _prepared(path: Path) -> Artifact | None:
    try:
        artifact = open_artifact(path) if is_artifact(path) else None
    except InputError:
        return None
    return artifact if artifact and artifact.kind.endswith("examples") else None


def _alike(one: Artifact, other: Artifact) -> bool:
    """Whether one model reads both, as far as can be seen: their kind, tokenizer and classes."""

    def made_from(artifact: Artifact) -> tuple[Any, ...]:
        return artifact.kind, artifact.meta["inputs"].get("tokenizer"), artifact.facts.get("classes")

    return made_from(one) == made_from(other)
