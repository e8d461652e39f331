"""Many independent pieces of work at once, results as they finish: one process a core, each on one thread, or on Ray.

Small models do not fill two cores with one training: a process a core is faster than a thread a core.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from typing import TypeVar

from thresher.executors.processes import forget_processes, processes
from thresher.executors.ray_cluster import run_on_ray
from thresher.executors.workers import num_workers

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int | None,
    executor: str = "processes",
    device: str = "auto",
) -> Iterator[tuple[int, Result]]:
    """Yield (position in `jobs`, `work(job)`) as jobs finish; `work` and the jobs must be picklable.

    `workers` is how many jobs are done at once (None: see `num_workers`). With one worker it all runs here, in order.
    A job's exception is raised here, and what was not begun is dropped;
    results that were yielded stand. Workers are kept for the next call, and end with this process, however it ends.
    `executor` "ray" runs the jobs on a cluster instead (`run_on_ray`), where one whose worker dies is begun again.
    """
    workers = num_workers(workers, device, executor)
    if executor == "ray":
        yield from run_on_ray(work, jobs, workers=workers, device=device) if jobs else ()
        return
    assert workers is not None
    if workers == 1 or len(jobs) < 2:
        yield from ((position, work(job)) for position, job in enumerate(jobs))
        return
    pool = processes(workers)
    try:
        running = {pool.submit(work, job): position for position, job in enumerate(jobs)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BaseException:
        forget_processes()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
