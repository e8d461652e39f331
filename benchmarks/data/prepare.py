"""What preparing a pool costs beside its tokenizer, and how much memory a large one takes.

    python -m benchmarks.data.prepare documents.parquet [--gigabytes 1] [--json results.json]

Speed: the corpus (Parquet, columns `text` and `domain`) is prepared (`prepare_text`: read, tokenised, packed by domain,
written) and, in the same process and with the same threads, its texts, already in memory, go through
`encode_batch_fast` in batches of as many characters; the two in turn, several times. Before that each has seen a part
of the corpus: the tokenizer keeps what it has seen.
Memory: a corpus of `--gigabytes` is written by repeating this one under ids of its own (Parquet and JSON lines), then
`thresher prepare` runs on it as a process, with a tokenizer trained on it and with one that is given.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from benchmarks.loop import machine
from thresher.artifacts import library_version
from thresher.data import (
    BATCH_CHARACTERS,
    Source,
    TextColumns,
    open_tokenizer,
    prepare_text,
    read_documents,
    train_tokenizer,
)

LENGTH = 1024
# Runs a command and prints its exit status, seconds and largest resident memory, all its threads together.
MEASURE = (
    "import os, subprocess, sys, time; start = time.time(); child = subprocess.Popen(sys.argv[1:], stdout=2);"
    "_, status, used = os.wait4(child.pid, 0); print(status, time.time() - start, used.ru_maxrss)"
)


def batches_of(texts: list[str]) -> list[list[str]]:
    batches, size = [[]], 0
    for text in texts:
        if size >= BATCH_CHARACTERS:
            batches, size = [*batches, []], 0
        batches[-1].append(text)
        size += len(text)
    return batches


class Seconds(NamedTuple):
    """Of the wall's clock, and of all threads: the latter hardly see other work on the machine."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Seconds":
        return cls(time.perf_counter(), time.process_time())

    def until_now(self) -> "Seconds":
        return Seconds(*(end - start for end, start in zip(Seconds.now(), self, strict=True)))


def alone(tokenizer: Path, batches: list[list[str]]) -> Seconds:
    """The tokenizer over all batches."""
    encoder = open_tokenizer(tokenizer).tokenizer
    start = Seconds.now()
    for batch in batches:
        encoder.encode_batch_fast(batch, add_special_tokens=False)
    return start.until_now()


def prepared(corpus: Path, tokenizer: Path, out: Path) -> Seconds:
    """Preparing, reading and writing included."""
    source, columns = Source((str(corpus),)), TextColumns(domain="domain")
    start = Seconds.now()
    prepare_text(
        lambda skipped: read_documents(source, columns, skipped),
        out=out,
        tokenizer=tokenizer,
        sequence_length=LENGTH,
        pack=True,
        config={},
        inputs={"source": source.fingerprint()},
    )
    seconds = start.until_now()
    shutil.rmtree(out)
    return seconds


def speed(corpus: Path, folder: Path, vocab_size: int, rounds: int) -> dict:
    texts = pq.read_table(corpus, columns=["text"])["text"].to_pylist()
    tokenizer = train_tokenizer(texts, vocab_size=vocab_size, out=folder / f"tokenizer-{vocab_size}", inputs={}).path
    batches, megabytes = batches_of(texts), sum(len(text.encode()) for text in texts) / 1e6
    alone(tokenizer, batches[:4])
    both = [(alone(tokenizer, batches), prepared(corpus, tokenizer, folder / "pool")) for _ in range(rounds)]
    shares = [tokenize.wall / prepare.wall for tokenize, prepare in both]
    return {
        "vocab_size": vocab_size,
        "megabytes": round(megabytes, 1),
        "tokenizer_mb_s": round(statistics.median(megabytes / tokenize.wall for tokenize, _ in both), 2),
        "prepare_mb_s": round(statistics.median(megabytes / prepare.wall for _, prepare in both), 2),
        "share": round(statistics.median(shares), 3),
        "share_range": [round(min(shares), 3), round(max(shares), 3)],
        "cpu_share": round(statistics.median(tokenize.cpu / prepare.cpu for tokenize, prepare in both), 3),
        "load_average": round(os.getloadavg()[0], 1),
        "seconds": [{"tokenizer": tokenize._asdict(), "prepare": prepare._asdict()} for tokenize, prepare in both],
    }


def a_tokenizer(corpus: Path, folder: Path) -> Path:
    texts = pq.read_table(corpus, columns=["text"])["text"].to_pylist()[::20]
    return train_tokenizer(texts, vocab_size=4096, out=folder / "tokenizer", inputs={}).path


def write_large(corpus: Path, out: Path, gigabytes: float) -> float:
    """`corpus` repeated under ids of its own; returns the gigabytes of its text."""
    table = pq.read_table(corpus, columns=["text", "domain"])
    size = sum(len(text.encode()) for text in table["text"].to_pylist()) / 1e9
    copies = max(1, math.ceil(gigabytes / size))
    tables = (
        table.add_column(0, "id", [[f"copy-{copy}-{number}" for number in range(len(table))]]) for copy in range(copies)
    )
    if out.suffix == ".jsonl":
        with open(out, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for own in tables for row in own.to_pylist())
    else:
        first = next(tables)
        with pq.ParquetWriter(out, first.schema) as writer:
            for own in (first, *tables):
                writer.write_table(own)
    return copies * size


def memory(corpus: Path, folder: Path, gigabytes: float, ending: str, tokenizer: Path | None) -> dict:
    large = folder / f"large.{ending}"
    size = write_large(corpus, large, gigabytes)
    command = [sys.executable, "-m", "thresher", "prepare", "--data", str(large), "--id", "id", "--quiet"]
    command += ["--domain", "domain", "--sequence-length", str(LENGTH), "--out", str(folder / "large")]
    command += ["--tokenizer", str(tokenizer)] if tokenizer else ["--vocab-size", "4096"]
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
    status, seconds, kilobytes = done.stdout.split()
    assert status == "0", done.stderr
    facts = json.loads((folder / "large" / "meta.json").read_text())["facts"]
    for left in folder.glob("large*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return {
        "format": ending,
        "gigabytes": round(size, 3),
        "tokenizer": "given" if tokenizer else "trained on a sample of it",
        "peak_rss_mb": round(int(kilobytes) / 1024),
        "seconds": round(float(seconds), 1),
        "mb_s": round(1e3 * size / float(seconds), 2),
        "num_tokens": facts["num_tokens"],
        "num_examples": facts["num_examples"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="0: leave the memory out")
    parser.add_argument("--formats", nargs="+", default=["parquet"], choices=("parquet", "jsonl"))
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=[4096, 32768])
    parser.add_argument("--rounds", type=int, default=5, help="0: leave the speed out")
    parser.add_argument("--tokenizers", nargs="+", default=["trained", "given"], choices=("trained", "given"))
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    libraries = {name: library_version(name) for name in ("tokenizers", "pyarrow", "numpy")}
    result = {"machine": machine(), "libraries": libraries, "sequence_length": LENGTH, "speed": [], "memory": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for vocab_size in options.vocab_sizes if options.rounds else ():
            result["speed"].append(speed(options.corpus, folder, vocab_size, options.rounds))
            print(result["speed"][-1], flush=True)
        for ending in options.formats if options.gigabytes else ():
            for given in options.tokenizers:
                tokenizer = a_tokenizer(options.corpus, folder) if given == "given" else None
                result["memory"].append(memory(options.corpus, folder, options.gigabytes, ending, tokenizer))
                print(result["memory"][-1], flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
