"""A traker script before and after its one import is changed: seconds a batch takes to featurise, side by side.

    python -m benchmarks.attribution.dropin [--quick] [--json results.json]

ResNet-9 of 0.4 M parameters, 64 images of CIFAR's shape a batch, task image_classification, device cpu. Both packages
and a plain forward and backward pass take turns on the same batches, in reverse order every other round; ratios are
taken round by round. The first round is given by itself: ours checks its gradients in it and draws its projection.
`features` is how far the stored features of the two are apart, relative to the largest.
"""

import argparse
import copy
import json
import logging
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trak

from benchmarks.attribution.models import resnet9
from benchmarks.attribution.plain import plain_step
from thresher.attribution import TRAKer

BATCH = 64


@dataclass(frozen=True)
class Case:
    """What both scripts pass to TRAKer; `ours` is what only ours is given."""

    name: str
    k: int
    half: bool
    rounds: int
    quick: bool
    ours: str | None = None


CASES = [
    Case("float32", 512, half=False, rounds=6, quick=True),
    Case("float32", 2048, half=False, rounds=4, quick=True),
    Case("float32, ours with projector='sjlt'", 2048, half=False, rounds=4, quick=True, ours="sjlt"),
    Case("half precision (traker's default)", 200, half=True, rounds=2, quick=False),
]


def measure(case: Case) -> dict:
    torch.manual_seed(0)
    model = resnet9(16).eval()
    images, labels = torch.randn(case.rounds + 1, BATCH, 3, 32, 32), torch.randint(0, 10, (case.rounds + 1, BATCH))
    with tempfile.TemporaryDirectory() as folder:
        made = {
            "ours": start(TRAKer, model, case, labels.numel(), Path(folder, "ours"), projector=case.ours),
            "traker": start(trak.TRAKer, model, case, labels.numel(), Path(folder, "traker")),
        }
        times: dict[str, list[float]] = {"plain": [], "ours": [], "traker": []}
        for index, batch in enumerate(zip(images, labels, strict=True)):
            plain = {"pixel_values": batch[0], "labels": batch[1]}
            passes: dict[str, Callable[[], Any]] = {"plain": lambda plain=plain: plain_step(model, plain)}
            for name, traker in made.items():
                passes[name] = lambda traker=traker, batch=batch: traker.featurize(batch, num_samples=BATCH)
            for name in list(passes)[:: 1 if index % 2 else -1]:
                began = time.perf_counter()
                passes[name]()
                times[name].append(time.perf_counter() - began)
        found, expected = (made[name].saver.current_store["grads"].astype(np.float64) for name in ("ours", "traker"))
    return {
        "case": case.name,
        "k": case.k,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "first_seconds": {name: values[0] for name, values in times.items()},
        "seconds": {name: statistics.median(values[1:]) for name, values in times.items()},
        "traker_to_ours": spread(times["traker"][1:], times["ours"][1:]),
        "ours_to_plain": spread(times["ours"][1:], times["plain"][1:]),
        "features": None if case.ours else float(np.abs(found - expected).max() / np.abs(expected).max()),
        "n": case.rounds,
    }


def start(package: Any, model: Any, case: Case, num_examples: int, folder: Path, **options: Any) -> Any:
    """A TRAKer with the checkpoint loaded."""
    traker = package(
        copy.deepcopy(model),
        "image_classification",
        num_examples,
        save_dir=str(folder),
        device="cpu",
        proj_dim=case.k,
        use_half_precision=case.half,
        logging_level=logging.ERROR,
        **options,
    )
    traker.load_checkpoint(model.state_dict(), model_id=0)
    return traker


def spread(slower: list[float], faster: list[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without half precision, where traker takes long")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    rows = []
    print(
        f"{'case':36} {'k':>5} {'plain s':>8} {'ours s':>8} {'traker s':>9} {'traker/ours':>12}  lowest to highest   n"
    )
    for case in CASES:
        if (arguments.quick and not case.quick) or arguments.only not in case.name:
            continue
        row = measure(case)
        rows.append(row)
        seconds, ratio = row["seconds"], row["traker_to_ours"]
        print(
            f"{case.name:36} {case.k:5} {seconds['plain']:8.3f} {seconds['ours']:8.3f} {seconds['traker']:9.3f} "
            f"{ratio['median']:12.1f}  {ratio['lowest']:.1f} to {ratio['highest']:.1f}  {row['n']:3}; "
            f"first {row['first_seconds']['ours']:.1f} s against {row['first_seconds']['traker']:.1f}, "
            f"features {row['features']}",
            flush=True,
        )
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "threads": 2, "torch": torch.__version__}
        cases = [asdict(case) for case in CASES]
        arguments.json.write_text(json.dumps({"machine": machine, "cases": cases, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
