"""The demo's loop over several study seeds: what it takes, and whether its result holds.

    python -m benchmarks.loop                     # five seeds of the text demo
    python -m benchmarks.loop --task vision --seeds 0 1 2 --json benchmarks/results/2026-11-21-demo-vision.json
    python -m benchmarks.loop --quick             # one seed

Every seed is a study of its own: other documents, other proxies, other references.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run_demo(task: str, seed: int, out: Path) -> dict:
    """One demo as a person starts it, in a process of its own."""
    command = [sys.executable, "-m", "thresher", "demo", "--task", task, "--seed", str(seed)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(out), "--json", "--quiet"], capture_output=True, text=True, check=True
    )
    return {"seed": seed, "wall_seconds": round(time.perf_counter() - start, 1), **json.loads(done.stdout)}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def machine() -> dict:
    return {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version()}


def line(run: dict) -> str:
    rows = [row for row in run["paired"] if not row["off_target"]]
    parts = [f"{row['arm']} {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] n={row['n']}" for row in rows]
    found = f"  flipped labels: AUC {run['flipped_labels']['auc']:.3f}" if "flipped_labels" in run else ""
    return f"seed {run['seed']}: {run['wall_seconds']:.0f} s  " + "  ".join(parts) + found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="language", choices=("language", "vision"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--quick", action="store_true", help="only the first seed")
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds[: 1 if options.quick else None]:
            runs.append(run_demo(options.task, seed, Path(folder) / str(seed)))
            print("held-out loss minus random's:" if len(runs) == 1 else "", line(runs[-1]), flush=True)
    if options.json:
        kept = (
            "seed",
            "wall_seconds",
            "seconds",
            "arms",
            "paired",
            "num_parameters",
            "num_pool",
            "num_selected",
            "flipped_labels",
        )
        rows = [{key: run[key] for key in kept if key in run} for run in runs]
        record = {
            "benchmark": "demo",
            "task": options.task,
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d"),
            "runs": rows,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
