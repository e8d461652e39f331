"""Artefacts: directories that exist only when finished, say what they were made from, and refuse to be mixed.

An artefact is written into a scratch directory beside its final place (`.NAME.partial`), file by file; `meta.json`
comes last, everything is fsynced, and one rename publishes it. A killed run leaves the scratch directory, whose
finished files are the checkpoint of the work: the same request continues there, another is refused, both values said.
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from thresher.canonical import hash_json, plain
from thresher.errors import InputError

SCHEMA = 2
# Beyond this size a file's hash is not checked again each time it is opened (its length is); `verify` checks all.
CHECK_ON_OPEN = 256 * 2**20
# A full disk, a quota, a limit on file sizes.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOCK, REQUEST, STATE = ".lock", ".request.json", ".state"
LIBRARIES = ("thresher", "torch", "numpy", "transformers", "datasets")


@dataclass(frozen=True)
class Artifact:
    """A finished artefact, read."""

    path: Path
    meta: Mapping[str, Any]
    built: bool = field(default=False, compare=False)
    """Whether this call made it (False: it was there already)."""

    @property
    def kind(self) -> str:
        """What is in it, such as `text-examples` or `model`."""
        return self.meta["kind"]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its maker recorded about it: counts, FLOPs, seconds."""
        return self.meta["facts"]

    @property
    def content_hash(self) -> str:
        """A hash of the data files alone: the same bytes have the same hash, whenever and wherever they were made."""
        return self.meta["content_hash"]

    def file(self, name: str) -> Path:
        """The path of one of its files."""
        return self.path / name


@dataclass(frozen=True)
class Draft:
    """An artefact being written."""

    path: Path

    @property
    def state(self) -> Path:
        """A folder for what a resumed run needs and the finished artefact does not hold."""
        folder = self.path / STATE
        folder.mkdir(exist_ok=True)
        return folder

    def has(self, name: str) -> bool:
        """Whether the file `name` is there already, from a run that was cut off."""
        return (self.path / name).exists()

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A path to write to; the file appears under `name` once the block ends without an error."""
        with atomic_file(self.path / name) as scratch:
            yield scratch


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path to write to, moved to `target` (fsynced) when the block succeeds and removed when it fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield scratch
        _fsync(scratch)
        os.replace(scratch, target)
        _fsync(target.parent)
    except Exception as error:
        disk_error = _disk_error(error, target)
        if disk_error is None:
            raise
        raise disk_error from error
    finally:
        scratch.unlink(missing_ok=True)


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
    Raises InputError when `path` holds something else; nothing is ever written over.
    """
    path = Path(path)
    request = plain({"schema": SCHEMA, "kind": kind, "config": config, "seed": seed, "inputs": inputs})
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        artifact = open_artifact(path)
        _refuse_other(path, {key: artifact.meta[key] for key in request}, request)
        if os.access(path, os.W_OK):  # on a disk that is read-only what is left over stays
            _clear_work(path)
        return artifact

    scratch = path.parent / f".{path.name}.partial"
    scratch.mkdir(parents=True, exist_ok=True)
    with _locked(scratch):
        begun = scratch / REQUEST
        if begun.exists():
            _refuse_other(scratch, json.loads(begun.read_text()), request)
        else:
            with atomic_file(begun) as file:
                file.write_text(json.dumps(request))
        start = time.perf_counter()
        try:
            facts = dict(write(Draft(scratch)) or {})
        except InputError:
            _discard_if_nothing_was_done(scratch)  # so that the corrected request is not refused
            raise
        facts.setdefault("seconds", round(time.perf_counter() - start, 3))
        _publish(scratch, path, request, facts)
    return Artifact(path, json.loads((path / "meta.json").read_text()), built=True)


def open_artifact(path: Path, kind: str | None = None, *, verify: bool = False) -> Artifact:
    """Read a finished artefact; refuse one that is missing, half-written, damaged, of another kind or schema."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; make it first, or check the path")
    try:
        meta = json.loads((path / "meta.json").read_text())
        files, found, schema = meta["files"], meta["kind"], meta["schema"]
        _ = [meta[key] for key in ("config", "seed", "inputs", "facts", "content_hash")]
    except FileNotFoundError:
        raise InputError(
            f"{path} has no meta.json: half-written or not an artefact; rerun the command that makes it"
        ) from None
    except NotADirectoryError:
        raise InputError(f"{path} is a file, not an artefact directory; give the directory") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}/meta.json is damaged; delete {path} and rerun the command that makes it") from None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema}, this version reads {SCHEMA}; make it again with this version")
    if kind is not None and found != kind:
        raise InputError(f"{path} holds {found!r}, but {kind!r} is needed here; give a {kind} artefact")
    for name, expected in files.items():
        file = path / name
        damaged = not file.is_file() or file.stat().st_size != expected["bytes"]
        if not damaged and (verify or expected["bytes"] <= CHECK_ON_OPEN):
            damaged = hash_file(file) != expected["sha256"]
        if damaged:
            raise InputError(f"{file} is damaged or missing; delete {path} and rerun the command that makes it")
    return Artifact(path, meta)


def is_artifact(path: Path) -> bool:
    """Whether a finished artefact is at `path`."""
    return (Path(path) / "meta.json").is_file()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(scratch: Path, path: Path, request: Mapping, facts: Mapping) -> None:
    for leftover in scratch.rglob(".*.tmp*"):
        leftover.unlink()
    names = sorted(
        file.relative_to(scratch).as_posix()
        for file in scratch.rglob("*")
        if file.is_file() and scratch / STATE not in file.parents
    )
    files = {
        name: {"bytes": (scratch / name).stat().st_size, "sha256": hash_file(scratch / name)}
        for name in names
        if name not in (LOCK, REQUEST, "meta.json")
    }
    content_hash = hash_json({name: entry["sha256"] for name, entry in files.items()})
    meta = {
        **request,
        "facts": plain(facts, finite=False),
        "content_hash": content_hash,
        "files": files,
        "libraries": {name: library_version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for name in files:
        _fsync(scratch / name)
    with atomic_file(scratch / "meta.json") as file:
        file.write_text(json.dumps(meta, indent=1))
    os.rename(scratch, path)
    _fsync(path.parent)
    _clear_work(path)


def _clear_work(path: Path) -> None:
    """Take what only the work needed out of a published artefact.

    Only after the rename: until then a killed run needs its state, and its folder must say whose it is. A process that
    ends between the two leaves it to whoever opens the artefact by the same request.
    """
    shutil.rmtree(path / STATE, ignore_errors=True)
    for name in (LOCK, REQUEST):
        (path / name).unlink(missing_ok=True)


def _discard_if_nothing_was_done(scratch: Path) -> None:
    if not any(file.is_file() and file.name not in (LOCK, REQUEST) for file in scratch.rglob("*")):
        shutil.rmtree(scratch)


def _refuse_other(path: Path, there: Mapping, wanted: Mapping) -> None:
    if there == wanted:
        return
    old, new = _flat(there), _flat(wanted)
    key = next(key for key in sorted(old | new) if old.get(key) != new.get(key))
    raise InputError(
        f"{path} was made with {key} = {_short(old.get(key))}, this run has {_short(new.get(key))}; "
        f"give another output path, or delete {path} to make it again"
    )


@contextmanager
def _locked(scratch: Path) -> Iterator[None]:
    with open(scratch / LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is writing {scratch}; wait for it, or stop it") from None
        yield


def _flat(value: Mapping, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {prefix + key: item}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(error: Exception, target: Path) -> OSError | None:
    """The OSError that a library written in another language reported in words, such as a full disk."""
    if isinstance(error, OSError):
        return None
    number = next((code for code in (*FULL, errno.EROFS, errno.EACCES) if os.strerror(code) in str(error)), None)
    return None if number is None else OSError(number, os.strerror(number), str(target))


def library_version(name: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
