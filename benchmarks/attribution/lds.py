"""LDS of our scores, of traker's recipe and of cheap baselines, on four ground truths that are made here.

    python -m benchmarks.attribution.lds [--only cifar mnist-logistic mnist-mlp language] [--json FILE]

cifar           2,000 images, ResNet-9 of 0.4 M parameters, 12 epochs, 200 targets
mnist-logistic  5,000 images, logistic regression trained as in dattri's benchmark, 500 targets
mnist-mlp       the same with dattri's MLP (dropout .1), 50 epochs
language        287,000 tokens of a 13-domain corpus, GPT-2 of 0.3 M parameters, 4 epochs, targets of the same corpus
language-2      the same with another draw of pool and targets

Subsets are halves. About two hours on 2 cores the first time; the retrainings are kept under runs/lds, and what is
there is not made again. `traker` is its recipe (its projection, kernel, Q; damping 0) with its package's own numbers
(tests/test_traker_parity.py); `traker, best damping` takes the best damping after looking at the answer.
"""

import argparse
import gzip
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.attribution.peers.common import ROOT
from benchmarks.command import thresher
from thresher.attribution import lds_table, noise_ceiling, predict_outputs, score_blocks
from thresher.data import open_examples
from thresher.proxies import ModelSettings
from thresher.studies import Attribution, Basis, pairs_by, retrain, train_checkpoints
from thresher.workspace import Workspace

RUNS = ROOT / "runs" / "lds"
DIGITS = [str(digit) for digit in range(10)]
PIECE = 350
"""Characters in an example of the text setting: about 128 tokens."""
DAMPINGS = (0.0, 0.1, 0.316, 1.0, 3.16, 10.0)
DATTRI = {"batch_size": 64, "learning_rate": 0.01, "schedule": "constant", "weight_decay": 0.0}


@dataclass(frozen=True)
class Setting:
    prepare: Callable[[Path, Path], None]
    """From the folder of the data and one for the prepared pool and target."""
    data: str
    table: ModelSettings
    num_subsets: int
    repeats: int
    ks: tuple[int, ...]
    checkpoints: tuple[int, ...] = (5, 10)
    views: tuple[str, ...] = ()
    """What further rows of ours average features over."""
    exact: bool = False
    """Whether to judge the exact kernel too, which takes long for convolutions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("THRESHER_DATA", ROOT.parent / "shared/data")))
    arguments = parser.parse_args()
    results = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    for name in arguments.only:
        results[name] = measure(SETTINGS[name], arguments.data)
        for row in results[name]["rows"]:
            ratio = row.get("ratio")
            print(
                f"{name:15} M={row['checkpoints']:<3} k={row['k']:<5} {row['scorer']:34} {_text(row['lds'])}"
                + (f"  {_text(ratio)} x traker" if ratio else ""),
                flush=True,
            )
        if arguments.json:
            results[name]["date"] = time.strftime("%Y-%m-%d")
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(setting: Setting, data: Path) -> dict:
    folder = RUNS / setting.data
    if not (folder / "target").exists():
        folder.mkdir(parents=True, exist_ok=True)
        setting.prepare(data, folder)
    pool, target = open_examples(folder / "pool"), open_examples(folder / "target")
    workspace = Workspace(RUNS / setting.table.size.replace(":", "-"), "cpu")
    training = {"seed": 0, "workers": None, "workspace": workspace}
    models = train_checkpoints(pool, setting.table, count=max(setting.checkpoints), **training)
    drawn = {"num_subsets": setting.num_subsets, "repeats": setting.repeats}
    truth = retrain(pool, target, setting.table, **drawn, **training)
    outputs, rows = truth.outputs("margin"), []
    for count in setting.checkpoints:
        for k in setting.ks:
            judge = Judge(models[:count], pool, target, k, workspace, truth.subsets, setting.views)
            rows += _rows(judge, outputs, setting)
    facts = {"num_subsets": len(outputs), "repeats": setting.repeats, "num_pool": len(pool), "num_targets": len(target)}
    if setting.repeats > 1:
        facts["ceiling"] = {key: asdict(value) for key, value in noise_ceiling(outputs).items()}
    return facts | {"model": asdict(setting.table), "rows": rows}


class Judge:
    """What each scorer predicts of the subsets, under some checkpoints and one k."""

    def __init__(self, models, pool, target, k, workspace, subsets, views) -> None:
        self.num_checkpoints, self.k, self.subsets = len(models), k, subsets
        self.models, self.pool, self.target, self.workspace = models, pool, target, workspace
        self.ours, self.dense = self.basis(), self.basis(projection="normal")
        self.viewed = {
            "ours, views " + " + ".join(group): self.basis(views=group) for group in (views, views[:1])[: len(views)]
        }

    def basis(self, **options) -> Basis:
        return Basis(self.models, self.pool, Attribution(k=self.k, **options), self.workspace)

    def trak(self, basis: Basis, **options):
        stores = basis.pool_features, basis.features("target", self.target)
        return predict_outputs(score_blocks(*stores, **options), self.subsets)

    def plain(self, name: str):
        return predict_outputs(pairs_by(name, self.ours, self.target), self.subsets)


def _rows(judge: Judge, outputs, setting: Setting) -> list[dict]:
    theirs = {damping: judge.trak(judge.dense, damping=damping, q="mean") for damping in DAMPINGS}
    means = lds_table({str(damping): p for damping, p in theirs.items()}, outputs, num_resamples=2)
    best = max(DAMPINGS, key=lambda damping: means[str(damping)]["lds"].mean)
    predicted = {
        "traker": judge.trak(judge.dense, convention="traker"),
        f"traker, best damping ({best})": theirs[best],
        "ours": judge.trak(judge.ours),
        "ours, damping loo": judge.trak(judge.ours, damping="loo"),
        "ours, q mean": judge.trak(judge.ours, q="mean"),
        "ours, q none": judge.trak(judge.ours, q="none"),
        "ours, dense projection": judge.trak(judge.dense),
        "ours, dense projection, loo": judge.trak(judge.dense, damping="loo"),
    }
    predicted |= {name: judge.trak(basis) for name, basis in judge.viewed.items()}
    if setting.exact:
        predicted["ours, exact kernel"] = judge.plain("dual")
    predicted |= {
        name: judge.plain(name)
        for name in ("grad-cosine", "embedding", "random", *(["bm25"] if setting.data.startswith("text") else []))
    }
    table = lds_table(predicted, outputs, baseline="traker", num_resamples=200)
    shared = {"checkpoints": judge.num_checkpoints, "k": judge.k}
    return [shared | {"scorer": s} | {key: asdict(value) for key, value in row.items()} for s, row in table.items()]


def _text(estimate: dict) -> str:
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _cifar(data: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, file, size in (("pool", "train", 2000), ("target", "test", 200)):
        table = pq.read_table(data / "cifar10" / f"{file}.parquet", columns=["image", "label", "index"])
        kept = np.sort(rng.choice(len(table), size, replace=False))
        pq.write_table(table.take(kept), folder / f"{name}.parquet")
        _prepare_images(folder, name)


def _mnist(data: Path, folder: Path) -> None:
    from PIL import Image

    for name, file, size in (("pool", "train", 5000), ("target", "t10k", 500)):
        images = np.frombuffer(_idx(data, f"{file}-images-idx3"), np.uint8, offset=16).reshape(-1, 28, 28)[:size]
        labels = np.frombuffer(_idx(data, f"{file}-labels-idx1"), np.uint8, offset=8)[:size]
        pictures = []
        for pixels in images:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            pictures.append({"bytes": buffer.getvalue(), "path": None})
        columns = {"image": pictures, "label": labels.astype(np.int64), "index": np.arange(size)}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        _prepare_images(folder, name)


def _idx(data: Path, name: str) -> bytes:
    return gzip.decompress((data / "mnist" / f"{name}-ubyte.gz").read_bytes())


def _text_corpus(data: Path, folder: Path, pool: float = 0.0, target: float = 0.5) -> None:
    # In pieces that a model reads at once: the other packages know no documents of several windows.
    table = pq.read_table(data / "corpus" / "documents.parquet", columns=["domain", "text"]).to_pylist()
    pieces = folder / "pieces.jsonl"
    with open(pieces, "w", encoding="utf-8") as file:
        for number, row in enumerate(table):
            for start in range(0, len(row["text"]), PIECE):
                piece = {"id": f"{number}:{start}", "domain": row["domain"], "group": str(number)}
                file.write(json.dumps(piece | {"text": row["text"][start : start + PIECE]}) + "\n")
    options = ["--data", str(pieces), "--id", "id", "--domain", "domain", "--group", "group", "--quiet"]
    options += ["--sequence-length", "256"]
    own = ["--tokenizer", str(folder / "pool-tokenizer")]
    _run(
        [
            "prepare",
            *options,
            "--part",
            f"{pool:g}",
            f"{pool + 0.017:g}",
            "--vocab-size",
            "2048",
            "--out",
            str(folder / "pool"),
        ]
    )
    _run(["prepare", *options, "--part", f"{target:g}", f"{target + 0.001:g}", *own, "--out", str(folder / "target")])


def _prepare_images(folder: Path, name: str) -> None:
    data = ["--data", str(folder / f"{name}.parquet"), "--id", "index", "--out", str(folder / name)]
    _run(["prepare", "--task", "vision", *data, "--classes", *DIGITS, "--quiet"])


def _run(arguments: list[str]) -> None:
    if thresher(arguments):
        raise SystemExit(2)


MODELS = "benchmarks.attribution.models"
LANGUAGE = Setting(
    prepare=_text_corpus,
    data="text",
    table=ModelSettings(size="0.3M", epochs=4, batch_size=16),
    num_subsets=160,
    repeats=1,
    ks=(512,),
)
SETTINGS = {
    "cifar": Setting(
        prepare=_cifar,
        data="cifar",
        table=ModelSettings(size=f"{MODELS}:resnet9_16", epochs=12, batch_size=64, learning_rate=0.005),
        num_subsets=100,
        repeats=2,
        ks=(512,),
        views=("flip", "shift"),
    ),
    "mnist-logistic": Setting(
        prepare=_mnist,
        data="mnist",
        table=ModelSettings(size=f"{MODELS}:mnist_logistic", epochs=20, momentum=0.0, **DATTRI),
        num_subsets=50,
        repeats=2,
        ks=(512,),
        exact=True,
    ),
    "mnist-mlp": Setting(
        prepare=_mnist,
        data="mnist",
        table=ModelSettings(size=f"{MODELS}:mnist_mlp", epochs=50, momentum=0.9, **DATTRI),
        num_subsets=50,
        repeats=2,
        ks=(512, 2048),
        exact=True,
    ),
    "language": LANGUAGE,
    "language-2": replace(LANGUAGE, prepare=partial(_text_corpus, pool=0.1, target=0.6), data="text-2"),
}


if __name__ == "__main__":
    main()
