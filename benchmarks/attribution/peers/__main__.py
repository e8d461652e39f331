"""Thresher beside traker, dattri, kronfluence and bergson: time of a pass against plain training, and peak memory.

    python -m benchmarks.attribution.peers [--quick] [--only TEXT ...] [--data FOLDER] [--json FILE]
    python -m benchmarks.attribution.peers --scores FOLDER --models M ... --pool P --targets T [--only PEER ...]

Each package runs in an environment of its own (made under .venv-peers/ on first use), on the same weights, data and
threads. Rows are merged by name into FILE: by default today's in benchmarks/results/, with `--only` the latest there,
so that some rows are measured again and the others kept. docs/benchmarks.md is written from a FILE in that folder.
A package that fails is a row with its error.
"""

import argparse
import os
import platform
import re
import shutil
import sys
import time
from pathlib import Path

from benchmarks.attribution.peers.cases import CASES, LONG, WORKLOADS, Case, pool_name
from benchmarks.attribution.peers.common import BATCH, ROOT, THREADS, TOKENS, Job
from benchmarks.attribution.peers.environments import VERSIONS, NotInstalled
from benchmarks.attribution.peers.launch import Failed, run, run_job
from benchmarks.attribution.peers.report import merge, write_table
from benchmarks.attribution.peers.scores import score_all

INPUTS = ROOT / "runs" / "attribution-peers"
RESULTS = ROOT / "benchmarks" / "results"
TABLE = ROOT / "docs" / "benchmarks.md"
LONG_NAME = "thresher resnet9-0.4M two-sided 512, long"


def main() -> None:
    arguments = _parse()
    if arguments.scores:
        score_all(arguments)
        return
    prepare_inputs(arguments.data)
    for case in CASES:
        if (arguments.quick and not case.quick) or not any(word in case.name for word in arguments.only):
            continue
        row = measure(case, arguments.seconds, arguments.part, arguments.limit)
        print(_line(row), flush=True)
        if arguments.json:
            merge(arguments.json, "rows", [row], machine())
    if not arguments.quick and any(word in LONG_NAME for word in arguments.only):
        row = measure_long(arguments.limit)
        print(_line(row), flush=True)
        if arguments.json:
            merge(arguments.json, "rows", [row], machine())
    if arguments.json and arguments.json.resolve().parent == RESULTS:
        write_table(arguments.json, TABLE)


def prepare_inputs(data: Path) -> None:
    run([sys.executable, "-m", "benchmarks.attribution.peers.inputs", str(INPUTS), str(data)])


def measure(case: Case, seconds: float, part: str, limit: float) -> dict:
    """Rounds beside plain passes in one process; then the pass alone in another, for its time and memory."""
    workload = WORKLOADS[case.workload]
    row = {
        "name": case.name,
        "peer": case.peer,
        "version": VERSIONS.get(case.peer, "this checkout"),
        "workload": case.workload,
        "method": case.method,
        "k": case.k,
        "num_examples": case.num_examples,
        "batch": f"{TOKENS} tokens" if workload.examples == "tokens" else f"{BATCH} images",
        "date": time.strftime("%Y-%m-%d"),
    }
    try:
        if part != "process":
            row |= run_job(_job(case, "ratio", seconds, case.round_examples), limit).answer
        if part != "ratio":
            row |= _whole(case, case.num_examples, limit)
    except (Failed, NotInstalled) as error:
        row["error"] = str(error)
    return row


def measure_long(limit: float) -> dict:
    """`thresher featurize` as a process on about a minute's work, and what of it the pass alone would take."""
    case = Case("thresher", "resnet9-0.4M", "two-sided", 512)
    row: dict = {"name": LONG_NAME, "peer": "thresher", "version": "this checkout", "workload": case.workload}
    row |= {"method": "two-sided, long", "k": 512, "num_examples": LONG, "batch": f"{BATCH} images"}
    try:
        row |= run_job(_job(case, "ratio", 10.0, case.round_examples)).answer
        row["pass_seconds"] = row["seconds"] * LONG / BATCH
        row |= _whole(case, LONG, limit)
    except Failed as error:
        row["error"] = str(error)
    return row | {"date": time.strftime("%Y-%m-%d")}


def _whole(case: Case, num_examples: int, limit: float) -> dict:
    has_command = case.peer in ("thresher", "bergson")
    job = _job(case, "prepare" if has_command else "whole", 0.0, num_examples)
    done = run_job(job, limit)
    measured = run(done.answer["command"], limit) if has_command else (done.seconds, done.peak_mb)
    return {"process_seconds": measured[0], "peak_mb": measured[1]}


def _job(case: Case, mode: str, seconds: float, num_examples: int) -> Job:
    workload = WORKLOADS[case.workload]
    out = INPUTS / "out" / re.sub(r"[^\w.-]+", "_", case.name) / f"{mode}-{num_examples}"
    shutil.rmtree(out, ignore_errors=True)
    return Job(
        peer=case.peer,
        mode=mode,
        models=(str(INPUTS / workload.model),),
        pool=str(INPUTS / pool_name(case.workload, num_examples)),
        targets=str(INPUTS / f"{workload.examples}-targets"),
        out=str(out),
        method=case.method,
        k=case.k,
        seconds=seconds,
    )


def _line(row: dict) -> str:
    if "error" in row:
        return f"{row['name']:52} failed: {row['error'].splitlines()[-1]}"
    process = f"process {row['process_seconds']:.1f} s, {row['peak_mb']:.0f} MB" if "peak_mb" in row else ""
    if "ratio" not in row:
        return f"{row['name']:52} {process}"
    low, high = row["ratio_quartiles"]
    times = f"plain {row['plain_seconds']:.3f} s, its own {row['seconds']:.3f} s"
    ratio = f"ratio {row['ratio']:.2f} ({low:.2f} to {high:.2f}, n = {row['rounds']})"
    return f"{row['name']:52} {times}, {ratio}; {process}"


def machine() -> dict:
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line for line in cpuinfo.read_text().splitlines() if line.startswith("model name"))
        name = next(lines, name).partition(":")[2].strip() or name
    return {"processor": name, "cores": os.cpu_count(), "threads": THREADS, "python": platform.python_version()}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("THRESHER_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default, help="folder with cifar10/; without it images are random")
    parser.add_argument("--quick", action="store_true", help="our own part only, under 3 minutes")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name contains one of these")
    parser.add_argument("--seconds", type=float, help="of rounds for each row")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a process is given up")
    parser.add_argument("--part", choices=["both", "ratio", "process"], default="both", help="measure one part alone")
    parser.add_argument("--json", type=Path, help="merge rows into this file")
    parser.add_argument("--scores", type=Path, help="write each package's scores of POOL for TARGETS here instead")
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--targets", type=Path)
    parser.add_argument("--k", type=int, default=512, help="of --scores")
    arguments = parser.parse_args()
    if not arguments.quick and not arguments.json:
        latest = sorted(RESULTS.glob("*-attribution-peers.json")) if arguments.only != [""] else []
        arguments.json = latest[-1] if latest else RESULTS / f"{time.strftime('%Y-%m-%d')}-attribution-peers.json"
    arguments.seconds = arguments.seconds or (8.0 if arguments.quick else 30.0)
    if arguments.scores and not (arguments.models and arguments.pool and arguments.targets):
        parser.error("--scores needs --models, --pool and --targets")
    return arguments


if __name__ == "__main__":
    main()
