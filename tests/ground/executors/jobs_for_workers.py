"""What worker processes are given in tests. Loads nothing heavy, so that a worker starts in a moment."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from thresher.errors import InputError


@dataclass(frozen=True)
class Job:
    number: int
    log: Path
    deaths: int = 0
    signal: int = signal.SIGKILL


def work(job: Job) -> int:
    """Write down that it begins, and die as often as it should."""
    with open(job.log, "a") as log:
        log.write(f"{job.number} ")
    if job.log.read_text().split().count(str(job.number)) <= job.deaths:
        os.kill(os.getpid(), job.signal)
    return 10 * job.number


def leave(status: int) -> None:
    os._exit(status)


class Particular(Exception):
    """Cannot be made from what `args` holds."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail(kind: str) -> object:
    if kind == "input":
        raise InputError("3 is too many; pass 2")
    if kind == "particular":
        raise Particular(1, 2)
    return lambda: None  # cannot be sent


def pid(_: object) -> int:
    return os.getpid()
