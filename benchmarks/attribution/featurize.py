"""How long features take, against a plain forward and backward pass of the same batch, measured side by side.

    python -m benchmarks.attribution.featurize [--quick] [--traker] [--json results.json]

The plain pass is what a training step does without its optimiser: mean cross-entropy, gradients of all parameters, in
eval mode (batch norm in training mode would only make it slower), for images in the faster of the two memory layouts.
All take turns in one process, so that what else the machine does falls on all; ratios are taken round by round, and
their median and quartiles are given. Freed memory is kept for all of them alike (`devices.keep_memory`).
"""

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.attribution.models import gpt2, images, resnet9, tokens
from benchmarks.attribution.plain import plain_step
from thresher.attribution import Featurizer
from thresher.devices import keep_memory
from thresher.outputs import Batch

TRAKER_K = 2048


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
    Case("resnet9 w=16, 256 images", lambda: resnet9(16), lambda: images(256), quick=False),
    Case("resnet9 w=64, 64 images", lambda: resnet9(64), lambda: images(64), quick=True),
    Case("gpt2 4x256, 8x128 tokens", gpt2, lambda: tokens(8), quick=True),
    Case("gpt2 4x256, 32x128 tokens", gpt2, lambda: tokens(32), quick=False),
    Case("gpt2 2x64, 32x128 tokens", lambda: gpt2(64, 2), lambda: tokens(32), quick=False),
]


def in_turns(passes: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other in every round (each round in the reverse order of the last); the first two
    rounds are not counted."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for repeat in range(repeats + 2):
        for name in list(passes)[:: 1 if repeat % 2 else -1]:
            start = time.perf_counter()
            passes[name]()
            if repeat >= 2:
                times[name].append(time.perf_counter() - start)
    return times


def plain_passes(model: nn.Module, batch: Batch) -> dict[str, Callable[[], object]]:
    """The plain pass in each memory layout there is for the batch, on copies of the model."""
    plain = copy.deepcopy(model)
    passes: dict[str, Callable[[], object]] = {"plain": lambda: plain_step(plain, batch)}
    if "pixel_values" in batch:
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        laid_out = batch | {"pixel_values": batch["pixel_values"].to(memory_format=torch.channels_last)}
        passes["plain, channels last"] = lambda: plain_step(last, laid_out)
    return passes


def measure(case: Case, features: Mapping[str, dict], repeats: int) -> list[dict]:
    """One row for each of `features` (label -> options of the featuriser)."""
    torch.manual_seed(0)
    model, batch = case.model().eval(), case.batch()
    passes = plain_passes(model, batch)
    layouts = list(passes)
    with ExitStack() as stack:
        for label, options in features.items():
            made = stack.enter_context(Featurizer(copy.deepcopy(model), **options))
            passes[label] = lambda made=made: made(batch)
        times = in_turns(passes, repeats)
    floor = min(layouts, key=lambda name: statistics.median(times[name]))
    size = sum(parameter.numel() for parameter in model.parameters())
    return [
        row(case, label, options["k"], floor, times[floor], times[label], size) for label, options in features.items()
    ]


def measure_traker(case: Case, k: int, repeats: int = 2) -> list[dict]:
    """traker's functional per-sample gradients and BasicProjector, as its CPU default runs them, and our `normal`,
    which gives the same numbers."""
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
    with Featurizer(copy.deepcopy(model), projection="normal", k=k) as ours:
        passes = plain_passes(model, batch) | {
            "normal": lambda: ours(batch),
            "traker BasicProjector": lambda: projector.project(
                computer.compute_per_sample_grad(batch=pair), model_id=0
            ),
        }
        times = in_turns(passes, repeats)
    floor = min(list(passes)[:-2], key=lambda name: statistics.median(times[name]))
    rows = [row(case, label, k, floor, times[floor], times[label], size) for label in list(passes)[-2:]]
    rows[0]["ratio_to_traker"] = statistics.median(
        a / b for a, b in zip(times["normal"], times["traker BasicProjector"], strict=True)
    )
    return rows


def row(case: Case, label: str, k: int, floor: str, plain: list[float], other: list[float], size: int) -> dict:
    ratios = sorted(b / a for a, b in zip(plain, other, strict=True))
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 2 else [ratios[0], ratios[-1], ratios[-1]]
    return {
        "case": case.name,
        "features": label,
        "k": k,
        "num_parameters": size,
        "floor": floor,
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
    parser.add_argument("--traker", action="store_true", help=f"measure traker's projector too, at k={TRAKER_K}")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--projections", nargs="+", default=["two-sided"])
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    keep_memory()
    rows = []
    print(f"{'case':28} {'features':24} {'k':>5} {'plain s':>8} {'this s':>8} {'ratio':>7}  quartiles      n  floor")
    for case in CASES:
        if (arguments.quick and not case.quick) or arguments.only not in case.name:
            continue
        repeats = arguments.repeats or (7 if arguments.quick else 21)
        features = {name: {"projection": name, "k": arguments.k} for name in arguments.projections}
        found = measure(case, features, repeats)
        if case.traker and arguments.traker:
            found += measure_traker(case, TRAKER_K)
        for each in found:
            low, high = each["ratio_quartiles"]
            against = f"  {each['ratio_to_traker']:.3f} of traker" if "ratio_to_traker" in each else ""
            print(
                f"{each['case']:28} {each['features']:24} {each['k']:5} {each['plain_seconds']:8.3f} "
                f"{each['seconds']:8.3f} {each['ratio']:7.2f}  {low:.2f} to {high:.2f}  {each['n']:3}  "
                f"{each['floor']}{against}",
                flush=True,
            )
        rows += found
    if arguments.json:
        machine = Machine(platform.processor() or platform.machine(), torch.get_num_threads(), torch.__version__)
        arguments.json.write_text(json.dumps({"machine": asdict(machine), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
