"""The runner's side: do one job in this environment. `python -m benchmarks.attribution.peers.child JOB ANSWER`."""

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.attribution.peers.common import THREADS, read_job


def main() -> None:
    job = read_job(Path(sys.argv[1]))
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    Path(job.out).mkdir(parents=True, exist_ok=True)
    runner = importlib.import_module(f"benchmarks.attribution.peers.{job.peer}")
    if job.mode == "ratio":
        rounds = runner.rounds(job)
        answer = compare(*rounds[:2], seconds=job.seconds) | (rounds[2]() if len(rounds) > 2 else {})
    else:
        answer = getattr(runner, job.mode)(job) or {}
    Path(sys.argv[2]).write_text(json.dumps(answer))


def compare(plain: Callable[[], float | None], theirs: Callable[[], float | None], *, seconds: float) -> dict:
    """Paired rounds, the order alternating: one not counted, then 3 at least and 15 at most in about `seconds`.

    A side may return how many seconds count, where a part of it is not what is compared.
    """
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(times[0]) < 4 or (len(times[0]) < 16 and time.perf_counter() - began < seconds):
        for which in (0, 1) if len(times[0]) % 2 else (1, 0):
            start = time.perf_counter()
            counted = (plain, theirs)[which]()
            times[which].append(time.perf_counter() - start if counted is None else counted)
    first, second = (each[1:] for each in times)
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {
        "plain_seconds": statistics.median(first),
        "seconds": statistics.median(second),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "rounds": len(ratios),
    }


def plain_round(model: torch.nn.Module, some: list) -> Callable[[], None]:
    """A plain forward and backward pass of the mean loss, over each batch of `some`."""
    from benchmarks.attribution.plain import plain_step

    def run() -> None:
        for batch in some:
            plain_step(model, batch)

    return run


if __name__ == "__main__":
    main()
