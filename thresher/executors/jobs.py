"""Many independent pieces of work at once, results as they finish: one process a core, each on one thread, or on Ray.

Small models do not fill two cores with one training: a process a core is faster than a thread a core.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from thresher.executors.processes import run_in_processes
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
    A job's exception is raised here: what was not begun is dropped, what is at work is ended, results that were yielded
    stand. A job whose worker dies is begun again; one that ends its workers again and again is an InputError. Workers
    are kept for the next call, and end with this process, however it ends.
    `executor` "ray" runs the jobs on a cluster instead (`run_on_ray`).
    """
    workers = num_workers(workers, device, executor)
    if executor == "ray":
        yield from run_on_ray(work, jobs, workers=workers, device=device) if jobs else ()
        return
    assert workers is not None
    if workers == 1 or len(jobs) < 2:
        yield from ((position, work(job)) for position, job in enumerate(jobs))
        return
    yield from run_in_processes(work, jobs, workers=workers)
