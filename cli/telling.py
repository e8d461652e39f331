"""What a command tells while it works: lines on stderr, the same with their time in a log, the command to run next."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from thresher.errors import InputError
from thresher.shown import as_line


class Log:
    """A file that lines are added to, each with its time, and on disk when `write` returns.

    Every line is one write to the end of the file, so that several commands may share a log.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError where no file can be written there."""
        from thresher.places import LOG_HEAD  # start-up time

        try:
            self._number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if os.fstat(self._number).st_size == 0 and path.is_file():
                os.write(self._number, f"{LOG_HEAD}\n".encode())
        except OSError as error:
            raise InputError(f"--log {path}: {error.strerror}; give a file in a folder that is there") from error

    def write(self, line: str) -> None:
        """Add a line; what cannot be written (a full disk) is lost, for a log must not end the work it is about."""
        with contextlib.suppress(OSError):
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(self._number, f"{stamp}  {as_line(line)}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.close(self._number)


_open: list[Log] = []
"""The log of the command that runs, if it has one."""


def open_log(path: Path) -> None:
    """Write what is told from here on to the log at `path` too. Raises InputError where that cannot be."""
    close_log()
    _open.append(Log(path))


def close_log(last: str = "") -> None:
    """End the log, where there is one, with a last line."""
    if last:
        note(last)
    while _open:
        _open.pop().close()


def note(line: str) -> None:
    """Write a line to the log, where there is one, and to nothing else."""
    for log in _open:
        log.write(line)


def say(message: str) -> None:
    """One line on stderr, whatever the message holds, and in the log."""
    line = as_line(message)
    note(line)
    if sys.stderr is None:
        return
    try:
        print(f"thresher: {line}", file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """What could not be written is dropped, so that the interpreter does not try again as it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say_next(words: Sequence[object] | None) -> None:
    """The command that comes next, as it is typed: `words` after `thresher`, or a whole line that begins otherwise."""
    if words:
        say(f"next: {command_line(words)}")


def command_line(words: Sequence[object]) -> str:
    """A line for the shell, its words quoted where they need it."""
    return shlex.join(str(word) for word in words)
