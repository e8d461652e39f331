"""The memory that commands say they take before they begin, and the most that they then had.

    python -m benchmarks.memory [--only train score ...] [--json FILE] [--data FOLDER]

Each command is a process of its own; what it had is the system's count of its resident memory (and that of the largest
of its workers). `ratio` is what it had, divided by what it said: at most 1 is a promise kept, .5 a wide one.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.attribution.peers.common import ROOT

SIZES, MODELS = (1000, 8000), ("0.1M", "1M")
SCORERS = (
    "trak", "dual", "direction", "ekfac", "ekfac-cg", "metagradient", "adamw-influence", "trackstar", "grad-cosine",
    "embedding", "bm25", "random",
)  # fmt: skip
METHODS = (
    "random",
    "bm25",
    "classifier",
    "dsir",
    "minhash | random",
    "semdedup:keep=0.5 | random",
    "loss",
    "embedding",
    "dsdm",
)
UNIT = {"MB": 1e6, "GB": 1e9}
SAID = re.compile(r"([\d.,]+) ([MG]B) of memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["train", "featurize", "score", "select", "vision"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("THRESHER_DATA", ROOT.parent / "shared/data")))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, words in commands(arguments, Path(folder)):
            row = measured(words, Path(folder))
            if row["said"] is None:
                continue
            rows.append({"command": name, **row})
            print(f"{name:40} said {row['said'] / 1e6:7.0f} MB  had {row['had'] / 1e6:7.0f} MB  {row['ratio']:.2f}")
            sys.stdout.flush()
            if arguments.json:
                arguments.json.write_text(
                    json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": rows}, indent=1) + "\n"
                )


def commands(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list]]:
    """(name, words) of all commands, those that others read from first."""
    if "vision" in arguments.only:
        for part, size in (("train", 2000), ("test", 100)):
            table = pq.read_table(arguments.data / "cifar10" / f"{part}.parquet", columns=["image", "label", "index"])
            pq.write_table(table.slice(0, size), folder / f"images-{part}.parquet")
            data = ["--data", folder / f"images-{part}.parquet", "--id", "index"]
            yield "prepare", ["prepare", "--task", "vision", *data, "--out", folder / f"images-{part}"]
        pool, model = folder / "images-train", folder / "images-model"
        yield "train rn-1/16 on 2,000 images", [
            "train", "--pool", pool, "--model", "rn-1/16", "--epochs", 1, "--out", model
        ]  # fmt: skip
        for scorer in ("trak", "direction", "ekfac"):
            yield f"score {scorer}, rn-1/16, 2,000 images", _score(scorer, pool, folder / "images-test", model, folder)
    table = pq.read_table(arguments.data / "corpus" / "documents.parquet", columns=["text", "domain"])
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(order[-100:]), folder / "target.parquet")
    for size in arguments.sizes if {*arguments.only} - {"vision"} else ():
        pool, target, data = folder / f"pool-{size}", folder / f"target-{size}", folder / f"data-{size}.parquet"
        pq.write_table(table.take(order[:size]), data)
        yield "prepare", ["prepare", "--data", data, "--domain", "domain", "--out", pool]
        own = ["--tokenizer", pool, "--out", target]
        yield "prepare", ["prepare", "--data", folder / "target.parquet", *own]
        for model in arguments.models:
            trained, about = folder / f"model-{size}-{model}", f"{model}, {size:,} texts"
            train = ["train", "--pool", pool, "--model", model, "--fraction", min(1, 1000 / size), "--out", trained]
            yield f"train {about}", train
            if "featurize" in arguments.only:
                examples = ["--models", trained, "--examples", pool, "--out", folder / f"features-{size}-{model}"]
                yield f"featurize {about}", ["featurize", *examples]
            for scorer in SCORERS if "score" in arguments.only else ():
                yield f"score {scorer}, {about}", _score(scorer, pool, target, trained, folder)
            for method in METHODS if "select" in arguments.only else ():
                given = ["--pool", pool, "--targets", f"t={target}", "--models", trained, "--evidence", folder / "none"]
                line = ["select", "--method", method, "--fraction", 0.2, *given]
                yield f"select {method}, {about}", [*line, "--out", folder / f"out-{time.time_ns()}"]


def _score(scorer: str, pool: Path, target: Path, model: Path, folder: Path) -> list:
    words = ["score", "--scorer", scorer, "--pool", pool, "--targets", f"t={target}", "--models", model]
    return [*words, *(("--steps", 3) if scorer == "ekfac-cg" else ()), "--out", folder / f"out-{time.time_ns()}"]


def measured(words: list, folder: Path) -> dict:
    """What a command said and had, in bytes; `said` is None of one that says nothing."""
    child = (
        "import resource, subprocess, sys; "
        "code = subprocess.call(sys.argv[1:]); "
        "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=sys.stderr); sys.exit(code)"
    )
    # Begun from a small process: what a child has before it begins is its parent's.
    line = [sys.executable, "-c", child, sys.executable, "-m", "thresher", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr[-500:]}")
    said, had = SAID.search(done.stderr), float(re.search(r"PEAK (\d+)", done.stderr)[1])  # pyright: ignore[reportOptionalSubscript]
    bytes_said = None if said is None else float(said[1].replace(",", "")) * UNIT[said[2]]
    return {"said": bytes_said, "had": had, "ratio": None if bytes_said is None else round(had / bytes_said, 2)}


if __name__ == "__main__":
    main()
