"""Files that are there whole or not at all, their hashes, and JSON that carries a checksum of its own text."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from thresher.artifacts.mounts import is_local

# A full disk, a quota, a limit on file sizes.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TEMPORARY = ".*.tmp*"
CHECKSUM = ',\n "checksum": "'


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path to write to, moved to `target` (fsynced) when the block succeeds and removed when it fails.

    What a process that ended while it wrote the same file left behind is removed.
    """
    with written_file(target) as scratch, _marked_as_alive(scratch):
        _remove_abandoned(target)
        yield scratch


@contextmanager
def written_file(target: Path, before_rename: Callable[[Path], None] = lambda scratch: None) -> Iterator[Path]:
    """As `atomic_file`; `before_rename` is called with the flushed file just before it gets its name."""
    make_folder(target.parent)
    # Processes of two machines that share the folder may have one number.
    scratch = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        yield scratch
        fsync(scratch)
        before_rename(scratch)
        os.replace(scratch, target)
        fsync(target.parent)
    except Exception as error:
        disk_error = _disk_error(error, target)
        if disk_error is None:
            raise
        raise disk_error from error
    finally:
        scratch.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each of which survives a power cut once it is there."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        fsync(each.parent)


def fsync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a folder, on file systems that flush names by themselves
            raise
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checked(file: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping as `checked_json` says it."""
    with atomic_file(file) as scratch:
        scratch.write_text(checked_json(value), encoding="utf-8")


def checked_json(value: Mapping[str, Any]) -> str:
    """JSON of a mapping that is not empty, with a last entry `checksum`: the SHA-256 of the text without it."""
    body = json.dumps(value, indent=1)
    return f'{body[:-2]}{CHECKSUM}{_sha256(body)}"\n}}'


def read_checked(file: Path) -> dict[str, Any]:
    """The mapping of a file of `checked_json`; raises ValueError where a byte of it has changed."""
    text = file.read_bytes().decode("utf-8")
    head, _, tail = text.rpartition(CHECKSUM)
    body = f"{head}\n}}"
    if tail != f'{_sha256(body)}"\n}}':
        raise ValueError("the checksum is not that of the text")
    return json.loads(body)


@contextmanager
def _marked_as_alive(scratch: Path) -> Iterator[None]:
    """Hold a lock on a temporary file, on disks of this machine (some file servers would keep its writer out)."""
    if not is_local(scratch.parent):
        yield
        return
    descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(target: Path) -> None:
    """Remove temporary files of `target` that no living process holds."""
    if not is_local(target.parent):
        return
    for file in target.parent.glob(f".{escape(target.name)}.*.tmp{escape(target.suffix)}"):
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink()
            finally:
                os.close(descriptor)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _disk_error(error: Exception, target: Path) -> OSError | None:
    """The OSError that a library written in another language reported in words, such as a full disk."""
    if isinstance(error, OSError):
        return None
    number = next((code for code in (*FULL, errno.EROFS, errno.EACCES) if os.strerror(code) in str(error)), None)
    return None if number is None else OSError(number, os.strerror(number), str(target))
