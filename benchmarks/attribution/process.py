"""What `thresher featurize` costs as a process, against the pass it is there for: imports, loading, checks, writing.

    python -m benchmarks.attribution.process [--seconds 60] [--json results.json]

A checkpoint of a 4-layer GPT-2 of width 256 and random sequences of 128 tokens are put into a temporary folder, as many
sequences as take about so long. Then, each in a process of its own: the command, and nothing but batches through a
featuriser that is set up. CPU seconds are given beside the wall's: other work on the machine hardly touches them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LENGTH, VOCABULARY, K = 128, 4096, 512


def write_inputs(folder: Path, num: int) -> None:
    """`folder/model` and `folder/pool{num}`."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from benchmarks.attribution.models import gpt2
    from thresher.artifacts import Draft, build
    from thresher.data import save_rows

    def write(draft: Draft) -> dict:
        tokens = np.random.default_rng(0).integers(0, VOCABULARY, size=(num, LENGTH)).astype(np.uint16)
        spans = np.tile(np.array([LENGTH, 1, LENGTH], dtype=np.int32), (num, 1))
        with draft.file("examples.parquet") as path:
            pq.write_table(pa.table({"id": [str(i) for i in range(num)], "domain": ["random"] * num}), path)
        return save_rows(draft, tokens, spans, vocab_size=VOCABULARY)

    torch.manual_seed(0)
    if not (folder / "model").exists():
        gpt2(vocabulary=VOCABULARY).save_pretrained(folder / "model")
    build(folder / f"pool{num}", kind="text-examples", config={"num": num}, seed=0, inputs={}, write=write)


def pass_alone(folder: Path, num: int) -> dict[str, float]:
    """Seconds of batches through a featuriser that has seen its first one."""
    from thresher.attribution import Featurizer
    from thresher.data import balanced_batches, open_examples
    from thresher.devices import keep_memory
    from thresher.proxies import open_model

    keep_memory()
    examples = open_examples(folder / f"pool{num}")
    batches = list(balanced_batches(np.asarray(examples.lengths()), 8192))
    with Featurizer(open_model(str(folder / "model")), k=K) as featurizer:
        featurizer(examples.batch(batches[0]))
        start, cpu = time.perf_counter(), time.process_time()
        for members in batches:
            featurizer(examples.batch(members))
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def in_process(command: list[str]) -> dict:
    """Seconds of a command, and what it printed."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - start, "cpu_seconds": cpu, "printed": done.stdout}


def measure(folder: Path, num: int) -> dict:
    write_inputs(folder, num)
    alone = in_process(["-m", "benchmarks.attribution.process", "--alone", str(folder), str(num)])
    alone = json.loads(alone["printed"])
    inputs = ["--models", str(folder / "model"), "--examples", str(folder / f"pool{num}"), "--k", str(K)]
    command = ["-m", "thresher", "featurize", *inputs, "--out", str(folder / f"features{num}"), "--quiet"]
    whole = in_process(command)
    return {
        "num_sequences": num,
        "pass_seconds": alone["seconds"],
        "process_seconds": whole["seconds"],
        "ratio": whole["seconds"] / alone["seconds"],
        "pass_cpu_seconds": alone["cpu_seconds"],
        "process_cpu_seconds": whole["cpu_seconds"],
        "cpu_ratio": whole["cpu_seconds"] / alone["cpu_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of work, about")
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(pass_alone(Path(options.alone[0]), int(options.alone[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), 128)
        trial = pass_alone(Path(folder), 128)
        made = measure(Path(folder), max(128, round(128 * options.seconds / trial["seconds"])))
    print(json.dumps(made, indent=1))
    if options.json:
        record = {"benchmark": "featurize as a process", "cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d")}
        options.json.write_text(json.dumps(record | made, indent=1) + "\n")


if __name__ == "__main__":
    main()
