"""What scores for one averaged target cost, everything included, against a plain pass over the pool.

    python -m benchmarks.attribution.averaged [--data DATA] [--json FILE]

On the pool and one checkpoint of `language` (see `grounds`), the mean of all its targets: `ekfac` with 512 examples in
its factors, `ekfac-cg` with 8 steps on 256 more, and forward and backward passes of the mean loss over the whole pool
in batches of the same size, in turns in one process. Some three minutes of two idle cores.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.attribution.grounds import SETTINGS, Ground, asked, ground_of, keep
from benchmarks.attribution.peers.common import ROOT, THREADS
from benchmarks.attribution.plain import plain_step
from benchmarks.loop import machine
from thresher.data import balanced_batches
from thresher.devices import keep_memory
from thresher.proxies import loaders_of
from thresher.studies import Attribution, Basis, score_by
from thresher.workspace import Workspace

FOLDER = ROOT / "runs" / "averaged"
ROWS: dict[str, dict[str, Any]] = {"ekfac": {"sample": 512}, "ekfac-cg": {"sample": 512, "steps": 8}}
ROUNDS = 3
BATCH_TOKENS = 8192
"""What scorers read at once, too."""


def main() -> None:
    arguments, results = asked(__doc__, SETTINGS, only=["language"], checkpoints=1)
    torch.set_num_threads(THREADS)
    keep_memory()
    for name in arguments.only:
        ground = ground_of(name, arguments.data, arguments.checkpoints)
        results[name] = measured(ground) | {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
        keep(arguments, results)
        for row, found in results[name]["rows"].items():
            low, high = found["quartiles"]
            print(f"{name} {row}: {found['passes']:.2f} passes ({low:.2f} to {high:.2f}, {ROUNDS} rounds)")


def measured(ground: Ground) -> dict[str, Any]:
    """Passes of each row, their quartiles over rounds, and the seconds of a plain pass."""
    plain: list[float] = []
    ratios: dict[str, list[float]] = {row: [] for row in ROWS}
    for _ in range(ROUNDS):
        plain.append(_timed(lambda: _pass(ground)))
        for row, options in ROWS.items():
            ratios[row].append(_timed(lambda row=row, options=options: _score(ground, row, options)) / plain[-1])
    rows = {}
    for row, found in ratios.items():
        low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
        rows[row] = {"passes": middle, "quartiles": [low, high], **ROWS[row]}
    return {"rows": rows, "plain_seconds": statistics.median(plain), "rounds": ROUNDS, "num_pool": len(ground.pool)}


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _pass(ground: Ground) -> None:
    model = loaders_of([str(ground.models[0])], ground.pool)[0][1]()
    for members in balanced_batches(np.asarray(ground.pool.windows.lengths), BATCH_TOKENS):  # texts of like length
        plain_step(model, ground.pool.batch(members))


def _score(ground: Ground, row: str, options: dict[str, Any]) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    out: Path = FOLDER / "scores"
    basis = Basis(ground.models[:1], ground.pool, Attribution(**options), Workspace(FOLDER / "work", "cpu"))
    score_by(row, basis, {"target": ground.target}, out=out)


if __name__ == "__main__":
    main()
