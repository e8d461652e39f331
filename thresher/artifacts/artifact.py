"""A finished artefact, read: every byte is checked before anything is believed."""

import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from thresher.artifacts.files import hash_file, read_checked
from thresher.errors import InputError

META = "meta.json"
# 2: meta.json without a checksum of itself. Its requests and data files are those of 3.
SCHEMA, UNCHECKED_SCHEMA = 3, 2
KEYS = ("kind", "config", "seed", "inputs", "facts", "content_hash", "files")
# A file that was changed less than this before it was read may change again without its times showing it.
SETTLED_SECONDS = 2.0
# Hashing lets go of the interpreter, so threads hash several files at once; below, a thread costs more than it saves.
HASHERS, WORTH_THREADS = min(8, os.cpu_count() or 1), 2**24


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


def open_artifact(path: Path, kind: str | None = None, *, verify: bool = False) -> Artifact:
    """Read a finished artefact; refuse one that is missing, half-written, damaged, of another kind or schema.

    All files are hashed, whatever their size. A file that this process has hashed already is hashed again only if its
    size, times or place on the disk have changed since, or with `verify`.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; make it first, or check the path")
    meta = _read_meta(path)
    if kind is not None and meta["kind"] != kind:
        raise InputError(f"{path} holds {meta['kind']!r}, but {kind!r} is needed here; give a {kind} artefact")
    files = {path / name: entry for name, entry in meta["files"].items()}
    is_much = sum(entry["bytes"] for entry in files.values()) > WORTH_THREADS
    with ThreadPoolExecutor(HASHERS) if is_much else nullcontext() as threads:
        checks = threads.map if threads else map
        for file, sound in zip(files, checks(lambda file: _is_as(file, files[file], verify), files), strict=True):
            if not sound:
                raise InputError(f"{file} is damaged or missing; delete {path} and rerun the command that makes it")
    return Artifact(path, meta)


def is_artifact(path: Path) -> bool:
    """Whether a finished artefact is at `path`."""
    return (Path(path) / META).is_file()


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        return _checked_meta(path / META)
    except FileNotFoundError:
        raise InputError(
            f"{path} has no meta.json: half-written or not an artefact; rerun the command that makes it"
        ) from None
    except InputError:  # a ValueError too
        raise
    except NotADirectoryError:
        raise InputError(f"{path} is a file, not an artefact directory; give the directory") from None
    except (ValueError, KeyError, TypeError, AttributeError, IsADirectoryError, RecursionError):
        raise InputError(f"{path}/meta.json is damaged; delete {path} and rerun the command that makes it") from None


def _checked_meta(file: Path) -> dict[str, Any]:
    """The meta.json at `file`. Raises InputError for another schema, and for a damaged one what parsing raises."""
    raw = json.loads(file.read_bytes())
    schema = raw["schema"]
    if schema not in (SCHEMA, UNCHECKED_SCHEMA):
        raise InputError(f"{file.parent} has schema {schema}, this version reads {SCHEMA}; make it again with this one")
    meta = raw if schema == UNCHECKED_SCHEMA and "checksum" not in raw else read_checked(file)
    missing = [key for key in KEYS if key not in meta]
    names = [PurePosixPath(name) for name in meta["files"]]
    if missing or any(name.is_absolute() or ".." in name.parts for name in names):
        raise ValueError("entries are missing, or lead out of the folder")
    if any(set(entry) != {"bytes", "sha256"} for entry in meta["files"].values()):
        raise ValueError("a file has no hash")
    return meta


_hashed: dict[Path, tuple[tuple[int, ...], str]] = {}


def _is_as(file: Path, expected: Mapping[str, Any], verify: bool) -> bool:
    """Whether a file has the length and hash that meta.json says."""
    if not file.is_file() or file.stat().st_size != expected["bytes"]:
        return False
    before = _stamp(file)
    known = _hashed.get(file.absolute())
    if verify or known is None or known[0] != before:
        begun = time.time()
        known = before, hash_file(file)
        # Changed just now (or in a future that a clock says): its times may not show the next change.
        if max(before[2:4]) / 1e9 < begun - SETTLED_SECONDS and _stamp(file) == before:
            _hashed[file.absolute()] = known
    return known[1] == expected["sha256"]


def _stamp(file: Path) -> tuple[int, ...]:
    about = file.stat()
    return about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_dev
