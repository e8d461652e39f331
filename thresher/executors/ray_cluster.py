"""Independent pieces of work as tasks of a Ray cluster: the one at RAY_ADDRESS, or one of this machine's own cores.

What a job makes is an artefact on a disk that every node shares, and only its small result travels; so a job whose
worker dies is given to another, which goes on where the first one was. Paths may be relative to the folder that the
caller runs in, where the nodes have it too.

Ray pickles whatever it carries, functions too, and its ports trust whoever reaches them: a cluster is for a network of
one's own. Nothing here unpickles anything by itself.
"""

import copy
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from thresher.errors import InputError
from thresher.executors.workers import num_workers

# How often a job is begun again after its worker died. What a job raises is raised at once.
RETRIES = 3


def run_on_ray(
    work: Callable[[Any], Any], jobs: Sequence[Any], *, workers: int | None, device: str = "auto"
) -> Iterator[tuple[int, Any]]:
    """Yield (position in `jobs`, `work(job)`) as a cluster finishes them, as `run_jobs` does.

    `workers` jobs are done at once (None: as many as the cluster has cores). Each has a GPU, if there are any and
    `device` is not "cpu".

    Raises InputError where Ray is not installed, no cluster answers, or a job's worker dies again and again.
    """
    ray = _ray()
    if not ray.is_initialized():
        _connect(ray, workers)
    waiting, running = deque(enumerate(jobs)), {}
    try:
        gpus = int(device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1)
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_work)
        while waiting or running:
            while waiting and (workers is None or len(running) < workers):
                position, job = waiting.popleft()
                # In a list, a reference arrives as it is: it is opened where what it names can be imported.
                running[task.remote([ray.put((work, job))], os.getcwd(), sys.path)] = position
            for reference in ray.wait(list(running), num_returns=1)[0]:
                position = running.pop(reference)
                yield position, _result(ray, reference, position)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _work(stored: list, folder: str, path: list[str]) -> Any:
    """One job, in a worker: on one thread, as the processes of this machine are, with what the caller can import."""
    torch.set_num_threads(1)
    sys.path += [entry for entry in path if entry not in sys.path]
    if os.path.isdir(folder):
        os.chdir(folder)
    # Ray's copy cannot be written to: its arrays lie in shared memory.
    work, job = copy.deepcopy(_ray().get(stored[0]))
    return work(job)


def _result(ray: Any, reference: Any, position: int) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the job's own; the chain has its traceback
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise InputError(
            f"job {position} ended its Ray worker {RETRIES + 1} times ({type(error).__name__}); see the cluster's logs "
            "(is there memory enough?), then run the same command again to resume"
        ) from error


def _ray() -> Any:
    # Nothing is reported to Ray's makers; their bars and logs are not our results.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # an optional extra
    except ImportError:
        raise InputError("executor 'ray' needs the package ray; install it: pip install 'thresher[ray]'") from None
    return ray


def _connect(ray: Any, workers: int | None) -> None:
    """Once a process: a cluster of our own ends with it."""
    address = os.environ.get("RAY_ADDRESS")
    cores = max(workers or 1, num_workers(None, "cpu") or 1)
    ours = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(**({"address": address} if address else ours), log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of no common kind: a plain Exception where this machine is too busy to start one
        reason = str(error).strip().split("\n")[0][:120]
        if address:
            raise InputError(
                f"RAY_ADDRESS={address}: no Ray cluster answers there ({reason}); start one with `ray start --head`, "
                "or unset RAY_ADDRESS for one on this machine"
            ) from error
        raise InputError(
            f"Ray does not start on this machine ({reason}); try again when it is idle, or without --executor ray"
        ) from error
