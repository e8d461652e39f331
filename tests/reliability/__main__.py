"""Run the programs: `python -m tests.reliability [--only NAME ...] [--count N] [--seed S] [--json FILE] [--fast]`.

Ends with status 1 when one of them found a fault.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from tests.reliability import PROGRAMS
from tests.reliability.ground import ENVIRONMENT, Ground


def main() -> int:
    arguments = _arguments()
    reports = []
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        ground = Ground(Path(arguments.folder or scratch).resolve())
        for name in arguments.only:
            begun = perf_counter()
            program = importlib.import_module(f"tests.reliability.{name}")
            size = arguments.minutes if name == "soak" else arguments.count
            options = {"count": size or PROGRAMS[name]}
            if arguments.fast:
                if not hasattr(program, "FAST"):
                    continue
                options = program.FAST
            report = program.check(ground, seed=arguments.seed, **options)
            reports.append(report.as_json() | {"seed": arguments.seed, "seconds": round(perf_counter() - begun, 1)})
            print(f"{name}: {report.tried} tried, {dict(report.outcomes)}, {len(report.faults)} faults", flush=True)
            for fault in report.faults:
                print("   ", fault[:400], flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(reports, indent=1))
    return 1 if any(report["faults"] for report in reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--count", type=int, help="cases of each program (default: its full size)")
    parser.add_argument("--minutes", type=int, help="of the soak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the reports")
    parser.add_argument("--fast", action="store_true", help="the few cases that `make test` runs")
    parser.add_argument("--folder", help="where to work, kept afterwards (default: a temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        # OpenMP reads its number of threads when it is loaded, so they are set before.
        os.environ.update(ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, "-m", "tests.reliability", *sys.argv[1:]])
    sys.exit(main())
