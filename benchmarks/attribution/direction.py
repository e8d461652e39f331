"""What scoring a pool along directions costs, against a plain forward and backward pass of the same batch.

    python -m benchmarks.attribution.direction [--quick] [--json results.json]

The passes take turns in one process (see `featurize`): slopes along one and along four directions. Directions are
random; making them is no part of what is measured, since it takes a sample and the slopes take the pool.
"""

import argparse
import copy
import json
import platform
import statistics
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.attribution.featurize import CASES, Case, in_turns, plain_passes
from thresher.attribution import Slopes
from thresher.devices import keep_memory

NUM_DIRECTIONS = (1, 4)


def measure(case: Case, repeats: int) -> list[dict]:
    """One row for each number of directions."""
    torch.manual_seed(0)
    model, batch = case.model().eval(), case.batch()
    passes = plain_passes(model, batch)
    layouts = list(passes)
    probe = {name: value[:2] for name, value in batch.items()}
    with ExitStack() as stack:
        for count in NUM_DIRECTIONS:
            directions = {name: torch.randn(count, *value.shape) for name, value in model.named_parameters()}
            slopes = stack.enter_context(Slopes(copy.deepcopy(model), probe, directions))
            passes[f"{count} direction{'s' if count > 1 else ''}"] = lambda slopes=slopes: slopes.read(batch)
        times = in_turns(passes, repeats)
    floor = min(layouts, key=lambda name: statistics.median(times[name]))
    return [row(case, label, times[floor], times[label]) for label in list(passes)[len(layouts) :]]


def row(case: Case, label: str, plain: list[float], other: list[float]) -> dict:
    ratios = sorted(b / a for a, b in zip(plain, other, strict=True))
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "case": case.name,
        "slopes": label,
        "plain_seconds": statistics.median(plain),
        "seconds": statistics.median(other),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [quartiles[0], quartiles[2]],
        "n": len(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    keep_memory()
    rows = []
    print(f"{'case':28} {'slopes':12} {'plain s':>8} {'ours s':>8} {'ratio':>7}  quartiles      n")
    for case in CASES:
        if (arguments.quick and not case.quick) or arguments.only not in case.name:
            continue
        for each in measure(case, arguments.repeats or (5 if arguments.quick else 15)):
            low, high = each["ratio_quartiles"]
            print(
                f"{each['case']:28} {each['slopes']:12} {each['plain_seconds']:8.3f} {each['seconds']:8.3f} "
                f"{each['ratio']:7.2f}  {low:.2f} to {high:.2f}  {each['n']:3}"
            )
            rows.append(each)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        arguments.json.write_text(
            json.dumps({"machine": machine | {"torch": torch.__version__}, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
