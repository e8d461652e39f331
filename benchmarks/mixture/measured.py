"""When and on what a figure was measured: the head of every result of these benchmarks."""

import os
import platform
from datetime import date


def measured(benchmark: str) -> dict:
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {"benchmark": benchmark, "date": date.today().isoformat(), "machine": machine}
