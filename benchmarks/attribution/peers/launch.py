"""Start a runner in its environment; how long it lived and how much memory it had at its peak."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
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


def run_job(job: Job, limit: float | None = None) -> Done:
    """Run `job` in the environment of its peer; Failed with the end of what it wrote, or after `limit` seconds."""
    python = Path(sys.executable) if job.peer == "thresher" else python_of(job.peer)
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
        job.save(given)
        seconds, peak = run([str(python), "-m", "benchmarks.attribution.peers.child", str(given), str(answer)], limit)
        return Done(json.loads(answer.read_text()), seconds, peak)


def run(command: list[str], limit: float | None = None) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a process, which is killed after `limit` seconds."""
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
        timer = threading.Timer(limit or threading.TIMEOUT_MAX, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == -signal.SIGKILL and limit and seconds >= limit:
            raise Failed(f"not finished in {limit:g} s")
        if process.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace").replace(f"{ROOT}/", "")
            lines = [line for line in text.splitlines() if line.strip()]
            raise Failed("\n".join(lines[-12:]) or f"exit status {process.returncode}")
    return seconds, usage.ru_maxrss / 1024
