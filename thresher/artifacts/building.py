"""How an artefact is made: the order of operations that the package's docstring writes down."""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.artifacts.artifact import META, SCHEMA, Artifact, open_artifact
from thresher.artifacts.claims import Claim, claimed, lock_of
from thresher.artifacts.files import TEMPORARY, fsync, hash_file, make_folder, read_checked, write_checked
from thresher.artifacts.libraries import LIBRARIES, library_version
from thresher.artifacts.pieces import SEALS, is_sound, piece, sealed_hashes
from thresher.canonical import hash_json, plain
from thresher.errors import InputError

REQUEST, STATE = ".request.json", ".state"


@dataclass(frozen=True)
class Draft:
    """An artefact being written."""

    path: Path

    @property
    def state(self) -> Path:
        """A folder for what a resumed run needs and the finished artefact does not hold: pieces, written by `piece`."""
        folder = self.path / STATE
        folder.mkdir(exist_ok=True)
        return folder

    def has(self, name: str) -> bool:
        """Whether the file `name` is there already, sound, from a run that was cut off (see `pieces.is_sound`)."""
        return is_sound(self.path / name)

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A path to write to; the file appears under `name` once the block ends without an error."""
        with piece(self.path / name) as scratch:
            yield scratch


def build(
    path: Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    seed: int,
    inputs: Mapping[str, str],
    write: Callable[[Draft], Mapping[str, Any] | None],
) -> Artifact:
    """The artefact at `path`: as it stands if this very request made it, else made by `write`, resuming a killed run.

    `inputs` maps names to content hashes. `write` fills the draft and returns the facts to record.
    Raises InputError when `path` holds something else, and while another process writes it; nothing is ever written
    over.
    """
    path = Path(path)
    request = plain({"schema": SCHEMA, "kind": kind, "config": config, "seed": seed, "inputs": inputs})
    if _is_taken(path):
        return _finished(path, request)
    make_folder(path.parent)
    with claimed(path) as claim:
        if _is_taken(path):  # by whoever had the claim before
            _clear_work(path)
            return _open_same(path, request)
        scratch = path.parent / f".{path.name}.partial"
        _begin(scratch, request)
        start = time.perf_counter()
        try:
            facts = dict(write(Draft(scratch)) or {})
        except InputError:
            _discard_if_nothing_was_done(scratch)  # so that the corrected request is not refused
            raise
        facts.setdefault("seconds", round(time.perf_counter() - start, 3))
        meta = _publish(scratch, path, request, facts, claim)
    return Artifact(path, meta, built=True)


def _is_taken(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _finished(path: Path, request: Mapping) -> Artifact:
    artifact = _open_same(path, request)
    left = lock_of(path).exists() or any((path / name).exists() for name in (STATE, SEALS, REQUEST))
    if left and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):  # on a disk that is read-only it stays
        try:
            with claimed(path):
                _clear_work(path)
        except InputError:  # whoever finished it is about to clear
            pass
    return artifact


def _open_same(path: Path, request: Mapping) -> Artifact:
    artifact = open_artifact(path)
    _refuse_other(path, {key: artifact.meta[key] for key in request}, request)
    return artifact


def _begin(scratch: Path, request: Mapping) -> None:
    """Make the folder of the work, or find the same request's; what no finished process left is removed."""
    make_folder(scratch)
    begun = scratch / REQUEST
    for leftover in scratch.rglob(TEMPORARY):
        leftover.unlink()
    if begun.exists():
        try:
            there = read_checked(begun)
        except ValueError:
            there = None
        if not there:
            raise InputError(
                f"{begun} is damaged, or of another version; delete {scratch} and run the same command again"
            )
        _refuse_other(scratch, there, request)
    elif _holds_pieces(scratch):
        raise InputError(f"{scratch} does not say what was begun there; delete it and run the same command again")
    else:
        write_checked(begun, request)


def _publish(scratch: Path, path: Path, request: Mapping, facts: Mapping, claim: Claim) -> dict[str, Any]:
    """Give the finished work its name; return its meta.json."""
    for leftover in scratch.rglob(TEMPORARY):
        leftover.unlink()
    files = {
        file.relative_to(scratch).as_posix(): {"bytes": file.stat().st_size, "sha256": hash_file(file)}
        for file in sorted(scratch.rglob("*"))
        if file.is_file() and not _is_of_the_work(file.relative_to(scratch)) and file != scratch / META
    }
    for name, entry in files.items():
        hashes = sealed_hashes(scratch / name)
        if hashes and entry["sha256"] not in hashes:
            (scratch / name).unlink()
            raise InputError(f"{scratch / name} was damaged as it lay; run the same command again to make it anew")
        fsync(scratch / name)
    for folder in {(scratch / name).parent for name in files}:
        fsync(folder)
    meta = {
        **request,
        "facts": plain(facts, finite=False),
        "content_hash": hash_json({name: entry["sha256"] for name, entry in files.items()}),
        "files": files,
        "libraries": {name: library_version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_checked(scratch / META, meta)
    claim.check()
    os.rename(scratch, path)
    fsync(path.parent)
    _clear_work(path)
    return json.loads(json.dumps(meta))


def discard(path: Path) -> None:
    """Remove a finished artefact; a process that ends meanwhile leaves it whole or not there.

    It is renamed first, so that no one finds a part of it; what is left under the other name goes with the next.
    """
    doomed = path.with_name(f".{path.name}.discarded")
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(path, doomed)
    shutil.rmtree(doomed)


def _is_of_the_work(inside: Path) -> bool:
    return inside.parts[0] in (REQUEST, STATE, SEALS)


def _clear_work(path: Path) -> None:
    """Take what only the work needed out of a published artefact.

    Only after the rename: until then a killed run needs its state, and its folder must say whose it is. A process that
    ends between the two leaves it to whoever opens the artefact by the same request.
    """
    for name in (STATE, SEALS):
        shutil.rmtree(path / name, ignore_errors=True)
    (path / REQUEST).unlink(missing_ok=True)


def _discard_if_nothing_was_done(scratch: Path) -> None:
    if not _holds_pieces(scratch):
        shutil.rmtree(scratch)


def _holds_pieces(scratch: Path) -> bool:
    return any(
        file.is_file() and file.name != REQUEST and SEALS not in file.relative_to(scratch).parts
        for file in scratch.rglob("*")
    )


def _refuse_other(path: Path, there: Mapping, wanted: Mapping) -> None:
    old, new = _flat(there), _flat(wanted)
    differing = sorted(key for key in old | new if key != "schema" and old.get(key) != new.get(key))
    if differing:
        key = differing[0]
        raise InputError(
            f"{path} was made with {key} = {_short(old.get(key))}, this run has {_short(new.get(key))}; "
            f"give another output path, or delete {path} to make it again"
        )


def _flat(value: Mapping, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {prefix + key: item}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
