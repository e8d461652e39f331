"""Start a runner in its environment; how long it lived and how much memory it had at its peak."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attribution.peers.common import ROOT, THREADS, Job
from benchmarks.attribution.peers.environments import python_of


class Failed(Exception):
    """A runner's last words."""


@dataclass(frozen=True)
class Done:
    answer: dict
    seconds: float
    peak_mb: float


def run_job(job: Job) -> Done:
    """Run `job` in the environment of its peer; Failed with the end of what it wrote to its error stream."""
    python = Path(sys.executable) if job.peer == "thresher" else python_of(job.peer)
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
        job.save(given)
        seconds, peak = run([str(python), "-m", "benchmarks.attribution.peers.child", str(given), str(answer)])
        return Done(json.loads(answer.read_text()), seconds, peak)


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a process."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(THREADS),
        "MKL_NUM_THREADS": str(THREADS),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=errors, stderr=errors)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
            raise Failed("\n".join(lines[-12:]) or f"exit status {process.returncode}")
    return seconds, usage.ru_maxrss / 1024
