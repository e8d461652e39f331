"""The inputs of the comparison, as artefacts: random weights, CIFAR-10 images (random ones without it), random tokens.

python -m benchmarks.attribution.peers.inputs FOLDER [DATA]
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.attribution.peers.cases import CASES, LONG, WORKLOADS
from thresher.artifacts import build
from thresher.data import LabelledImage, prepare_images, save_rows
from thresher.proxies import build_model, save_model

CLASSES = [str(label) for label in range(10)]
VOCABULARY, LENGTH = 4096, 128
NUM_TARGETS = 64


def main() -> None:
    folder = Path(sys.argv[1])
    cifar = Path(sys.argv[2]) / "cifar10" / "train.parquet" if len(sys.argv) > 2 else None
    cifar = cifar if cifar is not None and cifar.exists() else None
    folder.mkdir(parents=True, exist_ok=True)
    make = {"images": lambda out, num, skip: _images(out, num, cifar, skip), "tokens": _tokens}
    sizes = {(WORKLOADS[c.workload].examples, num) for c in CASES for num in (c.num_examples, c.round_examples)}
    for kind, num in sorted(sizes | {("images", LONG)}):
        make[kind](folder / f"{kind}-{num}", num, 0)
    for kind in ("images", "tokens"):
        make[kind](folder / f"{kind}-targets", NUM_TARGETS, LONG)
    for workload in WORKLOADS.values():
        _model(folder / workload.model, workload.model, "language" if workload.examples == "tokens" else "vision")


def _images(out: Path, num: int, cifar: Path | None, skip: int) -> None:
    rows = _random(num, skip) if cifar is None else _read(cifar, skip, num)
    config = {"num": num, "skip": skip, "real": cifar is not None}
    prepare_images(rows, out=out, classes=CLASSES, config=config, inputs={})


def _read(cifar: Path, skip: int, num: int) -> Iterator[LabelledImage]:
    from PIL import Image

    table = pq.read_table(cifar, columns=["image", "label"]).slice(skip, num)
    for row, (image, label) in enumerate(zip(table["image"], table["label"], strict=True)):
        pixels = np.asarray(Image.open(io.BytesIO(image["bytes"].as_py())).convert("RGB"))
        yield LabelledImage(str(skip + row), pixels, str(label.as_py()))


def _random(num: int, seed: int) -> Iterator[LabelledImage]:
    rng = np.random.default_rng(seed)
    for row in range(num):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        yield LabelledImage(str(row), pixels, str(rng.integers(10)))


def _tokens(out: Path, num: int, seed: int) -> None:
    def write(draft) -> dict:
        import pyarrow as pa

        drawn = np.random.default_rng(seed).integers(0, VOCABULARY, (num, LENGTH), dtype=np.uint16)
        with draft.file("examples.parquet") as file:
            ids = [str(row) for row in range(num)]
            pq.write_table(pa.table({"id": ids, "domain": [""] * num}), file)
        spans = np.tile([LENGTH, 1, LENGTH], (num, 1))
        return save_rows(draft, drawn, spans, vocab_size=VOCABULARY)

    build(out, kind="text-examples", config={"num": num}, seed=seed, inputs={}, write=write)


def _model(out: Path, name: str, task: str) -> None:
    sizes = {"vocab_size": VOCABULARY, "sequence_length": LENGTH}
    if task == "vision":
        sizes = {"num_classes": len(CLASSES), "image_shape": [3, 32, 32]}
    spec = {"name": name, "task": task, "source": "function", "function": f"benchmarks.attribution.models:{name}"}
    spec |= sizes

    def write(draft) -> dict:
        save_model(build_model(spec, seed=0), spec, draft)
        return {}

    build(out, kind="model", config=spec, seed=0, inputs={"torch": torch.__version__}, write=write)


if __name__ == "__main__":
    main()
