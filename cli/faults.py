"""What a machine cannot do, in one line: what was refused, where, and what to do. Everything else is our bug."""

import errno
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from thresher.errors import InputError

RESUME = "then run the same command again to resume"
# What to do about each; the path is said before it.
ACTIONS = {
    errno.ENOSPC: f"make room, {RESUME}",
    errno.EDQUOT: f"make room within the quota, {RESUME}",
    errno.EFBIG: f"allow larger files (ulimit -f unlimited), {RESUME}",
    errno.EROFS: "give a path on a disk that can be written",
    errno.EMFILE: f"allow more of them (ulimit -n 1024), {RESUME}",
    errno.ENFILE: f"end processes that hold many, {RESUME}",
    errno.EIO: f"check the disk, {RESUME}",
    errno.ESTALE: f"check the network disk, {RESUME}",
    errno.EAGAIN: f"allow more processes and threads (ulimit -u) or pass --workers 1, {RESUME}",
}
# Options of a command that lower its memory, the most useful first.
LOWER = {
    "prepare": "a part of the data (--part 0 0.5, --limit)",
    "train": "--accumulate 4, --activation-checkpointing, or a smaller --model",
    "featurize": "a smaller --batch-tokens or --k",
    "score": "a smaller --batch-tokens, --sample or --memory-gb",
    "attribute": "a smaller --batch-size or --k",
    "lds": "--workers 1, a smaller --k or --accumulate 4",
    "validate": "--workers 1, --accumulate 4, or a smaller --model",
    "select": "a smaller pool, or a method that needs no models",
    "study": "--workers 1",
    "mix": "--workers 1",
    "run": "workers = 1 in [validate], accumulate = 4 in [proxy] and [reference], or a smaller k in [attribution]",
}
# How libraries say that an allocation was refused; a group that is there says how much was asked for.
REFUSED = [
    re.compile(pattern)
    for pattern in (
        r"can't allocate memory(?:: you tried to allocate (\d+ bytes))?",  # torch on a CPU
        r"out of memory(?:\. Tried to allocate ([\d.]+ \w+))?",  # torch on a GPU, Rust, others
        r"Unable to allocate ([\d.]+ \w+)",  # numpy
        r"alloc of size (\d+)",  # pyarrow
        r"bad_alloc",
        r"failed to map segment from shared object",
        r"[Cc]annot allocate memory",
        r"can't start new thread|Resource temporarily unavailable",
    )
]


# With less address space than this beside the libraries, code of theirs that cannot report a refusal ends the process
# by a signal: at 4 MiB in tokenizers, at 32 MiB in torch, on stages that need little themselves (tests/reliability).
ROOM = 128 * 2**20


def refuse_too_little_memory() -> None:
    """Raise InputError where a limit on address space leaves too little for any command."""
    size = Path("/proc/self/statm")
    if os.name != "posix" or not size.exists():
        return
    import resource  # not on every system

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    importlib.import_module("torch")  # by far the largest of the libraries
    mapped = int(size.read_text().split()[0]) * resource.getpagesize()
    if limit - mapped < ROOM:
        raise InputError(
            f"the limit on address space (ulimit -v) leaves {max(0, limit - mapped) >> 20} MiB beside the libraries, "
            f"which take {mapped >> 20} MiB; allow {mapped + ROOM >> 20} MiB or more"
        )


def line_of(error: BaseException, command: str) -> str | None:
    """What a person should read in place of a traceback; None where the error is none of the machine's."""
    for cause in _chain(error):
        if (line := _memory(cause, command)) or (line := _disk(cause)):
            return line
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot open {error.filename}: {error.strerror}; check the path and its permissions"
    return None


def _memory(error: BaseException, command: str) -> str | None:
    said = str(error)
    match = next((found for pattern in REFUSED if (found := pattern.search(said))), None)
    if match is None and not isinstance(error, MemoryError):
        return None
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOMEM):
        return None
    asked = next((group for group in match.groups() if group), None) if match and match.re.groups else None
    lower = LOWER.get(command)
    return (
        f"not enough memory{f': {_readable(asked)} more was asked for and refused' if asked else ''}; "
        f"{f'pass {lower}' if lower else 'free some'}, or allow more, {RESUME}"
    )


def _disk(error: BaseException) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # a library in another language may say it in words alone
        said = str(error)
        number = next((code for code in ACTIONS if os.strerror(code) in said), None)
        if number is None and re.search(r"\d+ requested and \d+ written", said):  # numpy, of whichever reason
            number = errno.ENOSPC
    if number not in ACTIONS:
        return None
    path = getattr(error, "filename", None)
    verb = "open" if number in (errno.EMFILE, errno.ENFILE) else "write"
    where = f"cannot {verb} {_name(path)}: " if path is not None else ""
    return f"{where}{os.strerror(number)}; {ACTIONS[number]}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen, following = set(), error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _name(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes | str | Path) else str(path)


def _readable(asked: str) -> str:
    number, _, unit = asked.partition(" ")
    if unit not in ("", "bytes"):
        return asked
    size = float(number)
    for name in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or name == "GiB":
            break
        size /= 1024
    return f"{size:.3g} {name}"
