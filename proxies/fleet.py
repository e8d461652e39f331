"""Many independent pieces of work at once: one process a core, each on one thread, results as they finish.

Small models do not fill two cores with one training: a process a core is faster than a thread a core.
"""

import os
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


def num_workers(wanted: int | None, device: str) -> int:
    """How many processes: as asked for, else one a core, else one where there is an accelerator to share."""
    if wanted is not None:
        if wanted < 1:
            raise InputError(f"workers={wanted}; pass 1 or more")
        return wanted
    return 1 if pick_device(device).type != "cpu" else len(os.sched_getaffinity(0))


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int) -> Iterator[tuple[int, Result]]:
    """(position in `jobs`, `work(job)`) as they finish; `work` and the jobs must be picklable.

    With one worker it all runs here, in order. A job's exception is raised here, and what was not begun is dropped;
    results that were yielded stand. Workers end with this process, however it ends.
    """
    if workers == 1 or len(jobs) < 2:
        yield from ((position, work(job)) for position, job in enumerate(jobs))
        return
    # spawn: a fork of a process that has run torch's threads may hang.
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_start, initargs=(os.getpid(),)
    )
    try:
        running = {pool.submit(work, job): position for position, job in enumerate(jobs)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(parent: int) -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
