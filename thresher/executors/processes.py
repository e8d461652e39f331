"""Jobs in processes of this machine; the death of one costs its job another try, and nothing else.

A worker has one job at a time, so it is known what a death took. The jobs' results and exceptions come back over a pipe
of two ends: there is no queue, lock or shared memory that a killed process could leave behind.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

from thresher.errors import InputError
from thresher.executors.serving import serve

RETRIES = 2
"""How often a job is begun again after its worker died. What a job raises is raised at once."""

REASONS = {
    "SIGKILL": "the system does so when memory runs out",
    "SIGBUS": "a full disk or a full /dev/shm does so",
}
log = logging.getLogger(__name__)


class WorkerDied(Exception):
    """A worker ended without an answer; the message says how."""

    def __init__(self, status: int | None) -> None:
        name = signal.Signals(-status).name if status is not None and status < 0 else None
        super().__init__(f"was ended by {name}" if name else f"ended with status {status}")
        self.is_killed = name == "SIGKILL"
        self.reason = REASONS.get(name or "", "")


class Worker:
    """One process that does one job at a time."""

    def __init__(self) -> None:
        # spawn: a fork of a process that has run torch's threads may hang.
        context = get_context("spawn")
        self.channel, theirs = context.Pipe()
        is_main = threading.current_thread() is threading.main_thread()
        self.process = context.Process(target=serve, args=(theirs, is_main), name="thresher worker")
        try:
            with theirs, _interrupts_blocked():
                self.process.start()
        except BaseException:
            self.channel.close()
            raise

    def give(self, work: Callable, job: Any) -> None:
        """Hand it a job. A worker that is dead already says so in `result`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send((work, job))

    def result(self) -> Any:
        """What the job gave; raises what it raised, and WorkerDied. Waits for it."""
        try:
            is_done, value = self.channel.recv()
        except (EOFError, OSError):
            self.process.join()
            raise WorkerDied(self.process.exitcode) from None
        if not is_done:
            raise value
        return value

    def end(self) -> None:
        """At once: what it was at can be resumed."""
        self.channel.close()
        self.process.kill()
        self.process.join()
        self.process.close()


_idle: dict[object, list[Worker]] = {}
"""The workers of the last call, which the next one finds warm: to start one takes as long as a small training."""


def run_in_processes(work: Callable[[Any], Any], jobs: Sequence[Any], *, workers: int) -> Iterator[tuple[int, Any]]:
    """Yield (position in `jobs`, `work(job)`) as `workers` processes finish them, as `run_jobs` does.

    A job whose worker dies is begun again, RETRIES times, the last time with no other beside it; after a SIGKILL, which
    is how a system that is out of memory ends a process, half as many jobs are done at once from then on.
    Raises InputError where a job's workers die each time.
    """
    idle, busy = _rested(workers), {}
    waiting, deaths, at_once = deque(range(len(jobs))), Counter(), workers
    try:
        while waiting or busy:
            while waiting and len(busy) < at_once:
                worker = idle.pop() if idle else Worker()
                busy[worker] = waiting.popleft()
                worker.give(work, jobs[busy[worker]])
            ready = wait([worker.channel for worker in busy])
            for worker, position in [(worker, busy[worker]) for worker in busy if worker.channel in ready]:
                try:
                    value = worker.result()
                except WorkerDied as death:
                    del busy[worker]
                    worker.end()
                    deaths[position] += 1
                    at_once = _fewer(at_once, death, deaths[position])
                    waiting.appendleft(position)
                else:
                    idle.append(worker)
                    del busy[worker]
                    yield position, value
    except BaseException:
        _end([*busy, *idle])
        raise
    _idle[_surroundings()] = idle


def _fewer(at_once: int, death: WorkerDied, deaths: int) -> int:
    """How many jobs are done at once after a job's death number `deaths`; refuses one too many."""
    if deaths > RETRIES:
        raise InputError(
            f"a worker process {death}, {deaths} times at the same job, the last time with no other beside it; "
            f"{death.reason or 'see what it said above'}; run the same command again to resume, "
            "with --workers 1 and, if memory is short, smaller batches or a smaller model"
        )
    if deaths == RETRIES:
        at_once = 1
    elif death.is_killed:
        at_once = max(1, at_once // 2)
    reason = f" ({death.reason})" if death.reason else ""
    log.warning("a worker process %s%s; its job is begun again, %d at once from now on", death, reason, at_once)
    return at_once


def _rested(most: int) -> list[Worker]:
    """The workers that wait for work in these surroundings; all others are ended."""
    workers = _idle.pop(_surroundings(), [])
    _end([*workers[most:], *(worker for others in _idle.values() for worker in others)])
    _idle.clear()
    return workers[:most]


def _surroundings() -> object:
    """What a worker takes over from this process as it starts: its folder, path and environment."""
    return os.getcwd(), tuple(sys.path), frozenset(os.environ.items())


@atexit.register
def _end_idle() -> None:
    _end([worker for workers in _idle.values() for worker in workers])


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.end()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that starts inside never sees Ctrl-C, not even while its interpreter starts; here it arrives after."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
