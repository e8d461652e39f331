"""Demos and tests as other machines would run them: does any verdict hang on a rounding?

    python -m benchmarks.machines                         # everything: both demos, five seeds, the tests, every setting
    python -m benchmarks.machines --settings avx2 --tasks vision --seeds 0 1 --no-tests
    python -m benchmarks.machines --pytest=tests/proxies  # other arguments of pytest for the tests

A setting is a set of environment variables: what this processor would do if it had less (`ATEN_CPU_CAPABILITY`), fewer
threads, or coarser float32 products. Each run is a process of its own. Results are added to the file as they come, and
what is there already is not run again: a killed table goes on. The last lines say which runs failed.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.loop import machine

# Read by the tests' conftest, and by the demos as they are started here.
PRECISION = "THRESHER_TEST_MATMUL"
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "lowest precision": {PRECISION: "medium", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
}
DEMO = f"""
import os, runpy, torch
torch.set_float32_matmul_precision(os.environ.get({PRECISION!r}, "highest"))
runpy.run_module("thresher", run_name="__main__")
"""
RESULTS = Path("benchmarks/results/machines.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--tasks", nargs="*", default=["language", "vision"], choices=("language", "vision"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--pytest", default="-m 'not slow'", help="arguments of pytest, as one: --pytest='-n 2 tests'")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = Table(options.json)
    for setting in options.settings:
        for task in options.tasks:
            for seed in options.seeds:
                table.add(f"{setting} / {task} / {seed}", lambda task=task, seed=seed: demo(task, seed), setting)
        if not options.no_tests:
            words = options.pytest
            table.add(f"{setting} / tests {words}", lambda: run_tests(shlex.split(options.pytest)), setting)
    failed = [name for name, row in table.rows.items() if not row["passed"]]
    print(f"{len(table.rows)} runs in {options.json}, {len(failed)} of them failed", *failed, sep="\n  ")
    sys.exit(bool(failed))


class Table:
    """Rows by name, on disk after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict] = json.loads(path.read_text())["runs"] if path.exists() else {}

    def add(self, name: str, run, setting: str) -> None:
        if name in self.rows:
            return
        before = dict(os.environ)
        os.environ.update(SETTINGS[setting])
        start = time.perf_counter()
        try:
            row = run()
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.rows[name] = {"passed": row.pop("passed"), "seconds": round(time.perf_counter() - start, 1), **row}
        print(f"{name}: {json.dumps(self.rows[name])}", flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"machine": machine(), "settings": SETTINGS, "runs": self.rows}, indent=1))


def demo(task: str, seed: int) -> dict:
    """Whether what was kept beats random data by more than the interval, and what is flipped is found."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["demo", "--task", task, "--seed", str(seed), "--out", f"{folder}/demo", "--json", "--quiet"]
        done = subprocess.run([sys.executable, "-c", DEMO, *arguments], capture_output=True, text=True)
    if done.returncode:
        return {"passed": False, "status": done.returncode, "error": done.stderr[-500:]}
    result = json.loads(done.stdout)
    (row,) = [row for row in result["paired"] if row["arm"] == "dsdm" and not row["off_target"]]
    gain = {name: round(row[name], 5) for name in ("mean", "low", "high")}
    found = result.get("flipped_labels", {}).get("auc")
    return {
        "passed": row["high"] < 0 and (found is None or found > 0.9),
        "loss minus random": gain,
        **({} if found is None else {"flipped labels, AUC": round(found, 4)}),
        "seconds of stages": result["seconds"],
    }


def run_tests(arguments: list[str]) -> dict:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or [done.stderr[-500:]]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"passed": done.returncode == 0, "closing line": lines[-1], **({"failed": failed} if failed else {})}


if __name__ == "__main__":
    main()
