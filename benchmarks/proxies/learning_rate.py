"""Does the ladder's learning rate hold across widths? Held-out loss by rate and width, at equal tokens.

    python -m benchmarks.proxies.learning_rate DOCUMENTS OUT [--json FILE] [--minutes 9]

DOCUMENTS has a column `text`. Rates are multiples of the rule's for the width (`proxies/models/ladder.py`), so a rule
that transfers has its best multiple at 1 for every width. Each run is kept under OUT: started again, it goes on; after
`--minutes` no other run is begun. About 35 minutes of two cores in all.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import thresher
from benchmarks.loop import machine
from thresher.data import Examples, open_examples
from thresher.executors.jobs import run_jobs
from thresher.proxies import ModelSettings, Shape, Trial, language_learning_rate, means, measure, train_trial
from thresher.workspace import Workspace

WIDTHS = (32, 64, 128, 192)
MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
NUM_EXAMPLES = 4096  # of 128 tokens: 256 steps of the default batch; with 96 no model learned more than frequencies
VOCAB_SIZE, LENGTH = 2048, 128


@dataclass(frozen=True)
class Job:
    root: Path
    width: int
    multiple: float
    seed: int

    @property
    def rate(self) -> float:
        return self.multiple * language_learning_rate(self.width)


def prepare(documents: Path, root: Path) -> None:
    shape = ("--sequence-length", LENGTH, "--quiet")
    _thresher(
        "prepare", "--data", documents, "--part", 0, 0.035, "--vocab-size", VOCAB_SIZE, "--out", _pool(root), *shape
    )
    held_out = ("--part", 0.995, 1, "--tokenizer", root / "pool-tokenizer", "--out", root / "held-out")
    _thresher("prepare", "--data", documents, *held_out, *shape)


def run(job: Job) -> dict[str, Any]:
    """One model, found again if it was trained before."""
    workspace, pool = Workspace(job.root, "cpu"), open_examples(_pool(job.root))
    table = ModelSettings(size=str(_parameters(job.width)["total"]), learning_rate=job.rate, precision="float32")
    name = f"models/{job.width}-{job.multiple:g}-{job.seed}"
    model = train_trial(pool, table, Trial(name, 0, job.seed, _indices(pool)), workspace)
    held_out = open_examples(job.root / "held-out")
    place = workspace.place(f"evaluations/{Path(name).name}", model.content_hash, held_out.content_hash)
    loss = means(measure(model, {"held-out": held_out}, out=place, workspace=workspace))["held-out"]["loss"]
    about = {"width": job.width, "multiple": job.multiple, "rate": job.rate, "seed": job.seed}
    return about | {"loss": loss, "seconds": model.facts["seconds"], "num_tokens": model.facts["num_tokens_seen"]}


def within(jobs: Sequence[Job], minutes: float | None, workers: int) -> Iterator[dict[str, Any]]:
    """Runs, so many at a time, until the time is over."""
    end = time.monotonic() + 60 * (minutes or 1e9)
    for start in range(0, len(jobs), workers):
        if time.monotonic() < end:
            yield from (result for _, result in run_jobs(run, jobs[start : start + workers], workers=workers))


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each width: mean loss by multiple, the best multiple (of a parabola through the three lowest neighbours, in
    log2), and what the rule's rate loses to it, beside the spread of seeds."""
    table = []
    for width in WIDTHS:
        own = [row for row in rows if row["width"] == width]
        losses = {m: [row["loss"] for row in own if row["multiple"] == m] for m in MULTIPLES}
        if not all(losses.values()):
            continue
        mean = np.array([np.mean(losses[m]) for m in MULTIPLES])
        middle = int(np.clip(mean.argmin(), 1, len(MULTIPLES) - 2))
        near = slice(middle - 1, middle + 2)
        a, b, c = np.polyfit(np.log2(MULTIPLES[near]), mean[near], 2)
        inside = a > 0 and np.log2(MULTIPLES[0]) <= -b / (2 * a) <= np.log2(MULTIPLES[-1])
        best, lowest = (2 ** (-b / (2 * a)), c - b**2 / (4 * a)) if inside else (MULTIPLES[mean.argmin()], mean.min())
        table.append(
            {
                "width": width,
                "parameters": _parameters(width),
                "rate": language_learning_rate(width),
                "losses": {f"{m:g}": values for m, values in losses.items()},
                "best_multiple": float(best),
                "rule_loses": float(np.mean(losses[1.0]) - lowest),
                "seed_spread": float(
                    np.sqrt(np.mean([np.var(v, ddof=1) for v in losses.values() if len(v) > 1] or [0]))
                ),
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prepare(options.documents, options.out)
    # All of one seed first, the smallest first: what there is after any time is a table.
    jobs = [Job(options.out, w, m, seed) for seed in range(options.seeds) for w in WIDTHS for m in MULTIPLES]
    rows = list(within(jobs, options.minutes, options.workers))
    table = summary(rows)
    print("width   " + "".join(f"{f'x{m:g}':>9}" for m in MULTIPLES) + "   rate     best    rule loses")
    for line in table:
        values = "".join(f"{np.mean(line['losses'][f'{m:g}']):9.4f}" for m in MULTIPLES)
        rule = f"{line['rate']:.1e}  x{line['best_multiple']:.2f}   {line['rule_loses']:.4f}"
        print(f"{line['width']:5d}   {values}   {rule}")
    print(f"{len(rows)} of {len(jobs)} runs")
    if options.json:
        about = {"benchmark": "learning-rate", "machine": machine(), "date": time.strftime("%Y-%m-%d")}
        options.json.write_text(json.dumps(about | {"table": table, "runs": rows}, indent=1) + "\n")


def _parameters(width: int) -> dict[str, int]:
    return Shape(width).num_parameters("gpt2", VOCAB_SIZE, LENGTH)


def _pool(root: Path) -> Path:
    return root / "pool"


def _indices(pool: Examples) -> np.ndarray:
    return np.arange(min(NUM_EXAMPLES, len(pool)))


def _thresher(*arguments: object) -> None:
    status = thresher([str(argument) for argument in arguments])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
