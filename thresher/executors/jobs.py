"""Many independent pieces of work at once, results as they finish: one process a core, each on one thread, or on Ray.

Small models do not fill two cores with one training: a process a core is faster than a thread a core.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import TypeVar

from thresher.devices import pick_device
from thresher.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")


EXECUTORS = ("processes", "ray")


def num_workers(wanted: int | None, device: str, executor: str = "processes") -> int | None:
    """How many processes: as asked for, else one a core, else one where there is an accelerator to share.

    None on Ray: what its cluster has. Raises InputError for a number below 1 and an executor that is none.
    """
    if executor not in EXECUTORS:
        raise InputError(f"executor {executor!r} is unknown; pass one of: {', '.join(EXECUTORS)}")
    if wanted is not None and wanted < 1:
        raise InputError(f"workers={wanted}; pass 1 or more")
    if wanted is not None or executor == "ray":
        return wanted
    return 1 if pick_device(device).type != "cpu" else len(os.sched_getaffinity(0))


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int | None,
    executor: str = "processes",
    device: str = "auto",
) -> Iterator[tuple[int, Result]]:
    """(position in `jobs`, `work(job)`) as they finish; `work` and the jobs must be picklable.

    With one worker it all runs here, in order. A job's exception is raised here, and what was not begun is dropped;
    results that were yielded stand. Workers are kept for the next call, and end with this process, however it ends.
    `executor` "ray" runs the jobs on a cluster instead (`cluster`), where one whose worker dies is begun again.
    """
    workers = num_workers(workers, device, executor)
    if executor == "ray":
        from thresher.executors.ray_cluster import run_on_ray

        yield from run_on_ray(work, jobs, workers=workers, device=device) if jobs else ()
        return
    assert workers is not None
    if workers == 1 or len(jobs) < 2:
        yield from ((position, work(job)) for position, job in enumerate(jobs))
        return
    pool = _processes(workers)
    try:
        running = {pool.submit(work, job): position for position, job in enumerate(jobs)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BaseException:
        _started.clear()
        pool.shutdown(wait=True, cancel_futures=True)
        raise


_started: dict[object, ProcessPoolExecutor] = {}
"""The processes of the last call, which the next one finds warm: starting one takes as long as a small training."""


def _processes(count: int) -> ProcessPoolExecutor:
    """`count` processes that see what this one sees now."""
    state = (count, os.getcwd(), tuple(sys.path), frozenset(os.environ.items()))
    if state not in _started:
        for pool in _started.values():
            pool.shutdown()
        _started.clear()
        # spawn: a fork of a process that has run torch's threads may hang.
        _started[state] = ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_start, initargs=(os.getpid(),)
        )
    return _started[state]


def _start(parent: int) -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
