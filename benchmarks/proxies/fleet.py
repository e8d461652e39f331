"""Many small trainings at once against one after the other: trials a minute, in one run of this script.

    python -m benchmarks.proxies.fleet [--rounds 3] [--json FILE]

The plain loop calls `train` for each run in this process, with all threads. The fleet is what every study uses: one
process a core, perceptrons stacked. Both in turn, `--rounds` times, in fresh folders; the processes are started once,
in the first round of the first model, as in a study.
`loss` is how far the final training losses of the two are apart at most: sums are taken in another order on another
number of threads, and training amplifies that. `loss_on_one_thread` is how far the fleet's are from the same trials
trained alone on one thread, as each is in the fleet (8 trials).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.loop import machine
from thresher.artifacts import Artifact, build
from thresher.data import ImageExamples
from thresher.proxies import ModelSettings, Trial, train_trial, train_trials
from thresher.workspace import Workspace

CASES = {
    "mlp": (ModelSettings(size="mlp-64x2", epochs=20, batch_size=64, learning_rate=0.02), (5000, 28, 28, 1), 128),
    "rn-1/16": (ModelSettings(size="rn-1/16", epochs=6, batch_size=64, learning_rate=0.02), (2000, 32, 32, 3), 64),
}


def pool(folder: Path, shape: tuple[int, ...]) -> ImageExamples:
    """Random images, each class a shade brighter than the last, so that there is something to learn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(draft) -> dict:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, shape[0])
        images = np.clip(rng.normal(80, 40, shape) + 10 * labels[:, None, None, None], 0, 255).astype(np.uint8)
        for name, array in {"images.npy": images, "labels.npy": labels}.items():
            with draft.file(name) as path, open(path, "wb") as file:
                np.save(file, array)
        with draft.file("examples.parquet") as path:
            names = [str(i) for i in range(shape[0])]
            pq.write_table(pa.table({"id": names, "domain": [""] * shape[0]}), path)
        return {"num_examples": shape[0], "classes": [str(c) for c in range(10)]}

    return ImageExamples(build(folder, kind="image-examples", config={"shape": shape}, seed=0, inputs={}, write=write))


def measure(name: str, num_rounds: int) -> dict:
    table, shape, count = CASES[name]
    rounds, apart = [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        examples = pool(Path(scratch) / "pool", shape)
        rng = np.random.default_rng(1)
        halves = [np.sort(rng.choice(shape[0], shape[0] // 2, replace=False)) for _ in range(count)]
        trials = [Trial("half", i, i, half) for i, half in enumerate(halves)]
        for turn in range(num_rounds):
            spaces = [Workspace(Path(scratch) / f"{side}{turn}", "cpu") for side in ("loop", "fleet")]
            start = time.perf_counter()
            loop = [train_trial(examples, table, trial, spaces[0]) for trial in trials]
            middle = time.perf_counter()
            fleet = train_trials(examples, table, trials, label="fleet", workers=None, workspace=spaces[1])
            rounds.append((middle - start, time.perf_counter() - middle))
            apart = max(apart, furthest(loop, fleet))
        threads, workspace = torch.get_num_threads(), Workspace(Path(scratch) / "alone", "cpu")
        torch.set_num_threads(1)
        alone = [train_trial(examples, table, trial, workspace) for trial in trials[:8]]
        torch.set_num_threads(threads)
    ratios = [loop / fleet for loop, fleet in rounds]
    return {
        "model": name,
        "trials": count,
        "loop_seconds": [loop for loop, _ in rounds],
        "fleet_seconds": [fleet for _, fleet in rounds],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "loss": apart,
        "loss_on_one_thread": furthest(alone, fleet[:8]),
    }


def furthest(ones: Sequence[Artifact], others: Sequence[Artifact]) -> float:
    """The largest distance between two trials' final training losses."""
    losses = [[made.facts["final_train_loss"] for made in side] for side in (ones, others)]
    return float(np.abs(np.subtract(*losses)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(name, options.rounds) for name in options.only]
    for row in rows:
        spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}, n = {len(row['ratios'])}"
        print(f"{row['model']:10} {row['trials']}: {row['ratio']:.2f} times the loop ({spread}); losses apart by "
              f"{row['loss']:.1e} at most, on one thread by {row['loss_on_one_thread']:.1e}")  # fmt: skip
    if options.json:
        record = {"benchmark": "fleet", "date": time.strftime("%Y-%m-%d"), "machine": machine(), "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
