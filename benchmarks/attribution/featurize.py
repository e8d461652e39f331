"""How long features take, against a plain forward and backward pass of the same batch, measured side by side.

    python -m benchmarks.attribution.featurize [--quick] [--json results.json]

The plain pass is what a training step does without its optimiser: mean cross-entropy, gradients of all parameters, in
eval mode (batch norm in training mode would only make it slower). Both alternate in one process, so that what else
the machine does falls on both; the ratio is taken pair by pair, and its median and quartiles are given.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.attribution.models import gpt2, images, resnet9, tokens
from benchmarks.attribution.plain import plain_step
from thresher.attribution.featurizer import Featurizer
from thresher.outputs import Batch


@dataclass(frozen=True)
class Case:
    name: str
    model: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    quick: bool
    """Whether `--quick` runs it."""
    traker: bool = False
    """Whether traker's own CPU projector is affordable on it."""


CASES = [
    Case("resnet9 w=16, 64 images", lambda: resnet9(16), lambda: images(64), quick=True, traker=True),
    Case("resnet9 w=64, 64 images", lambda: resnet9(64), lambda: images(64), quick=True),
    Case("gpt2 4x256, 8x128 tokens", gpt2, lambda: tokens(8), quick=True),
    Case("gpt2 4x256, 32x128 tokens", gpt2, lambda: tokens(32), quick=False),
    Case("gpt2 2x64, 32x128 tokens", lambda: gpt2(64, 2), lambda: tokens(32), quick=False),
]


def paired(plain: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each, alternating (and alternating which goes first), after two rounds that are not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 2):
        for which in (0, 1) if repeat % 2 else (1, 0):
            start = time.perf_counter()
            (plain, other)[which]()
            if repeat >= 2:
                times[which].append(time.perf_counter() - start)
    return times


def measure(case: Case, label: str, projection: str, k: int, repeats: int) -> dict:
    torch.manual_seed(0)
    model, batch = case.model().eval(), case.batch()
    with Featurizer(model, projection=projection, k=k) as featurize:
        plain, ours = paired(lambda: plain_step(model, batch), lambda: featurize(batch), repeats)
    return row(case, label, k, plain, ours, sum(parameter.numel() for parameter in model.parameters()))


def measure_traker(case: Case, k: int) -> dict:
    """traker's functional per-sample gradients and BasicProjector, as its CPU default runs them."""
    from trak.gradient_computers import FunctionalGradientComputer
    from trak.modelout_functions import ImageClassificationModelOutput
    from trak.projectors import BasicProjector, ProjectionType

    torch.manual_seed(0)
    model, batch = case.model().eval(), case.batch()
    size = sum(parameter.numel() for parameter in model.parameters())
    projector = BasicProjector(size, k, seed=0, proj_type=ProjectionType.normal, device="cpu")
    output = ImageClassificationModelOutput()
    computer = FunctionalGradientComputer(model, output, grad_dim=size, dtype=torch.float32, device="cpu")
    computer.load_model_params(model)
    pair = (batch["pixel_values"], batch["labels"])

    def featurize() -> None:
        projector.project(computer.compute_per_sample_grad(batch=pair), model_id=0)

    plain, theirs = paired(lambda: plain_step(model, batch), featurize, 2)
    return row(case, "traker BasicProjector", k, plain, theirs, size)


def row(case: Case, label: str, k: int, plain: list[float], other: list[float], size: int) -> dict:
    ratios = sorted(b / a for a, b in zip(plain, other, strict=True))
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 2 else [ratios[0], ratios[-1], ratios[-1]]
    return {
        "case": case.name,
        "features": label,
        "k": k,
        "num_parameters": size,
        "plain_seconds": statistics.median(plain),
        "seconds": statistics.median(other),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [quartiles[0], quartiles[2]],
        "n": len(ratios),
    }


@dataclass(frozen=True)
class Machine:
    processor: str
    threads: int
    torch: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--k", type=int, default=512)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--traker", action="store_true", help="measure traker's projector too")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    rows = []
    print(f"{'case':28} {'features':24} {'plain s':>8} {'ours s':>8} {'ratio':>7}  quartiles      n")
    for case in CASES:
        if (arguments.quick and not case.quick) or arguments.only not in case.name:
            continue
        repeats = arguments.repeats or (7 if arguments.quick else 21)
        found = [measure(case, "two-sided", "two-sided", arguments.k, repeats)]
        if case.traker and arguments.traker:
            found.append(measure_traker(case, arguments.k))
        for each in found:
            low, high = each["ratio_quartiles"]
            print(
                f"{each['case']:28} {each['features']:24} {each['plain_seconds']:8.3f} {each['seconds']:8.3f} "
                f"{each['ratio']:7.2f}  {low:.2f} to {high:.2f}  {each['n']:3}"
            )
        rows += found
    if arguments.json:
        machine = Machine(platform.processor() or platform.machine(), torch.get_num_threads(), torch.__version__)
        arguments.json.write_text(json.dumps({"machine": asdict(machine), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
