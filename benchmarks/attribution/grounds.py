"""Where scorers are judged: a pool, targets, checkpoints to attribute with, and what retraining on subsets gave.

cifar           2,000 images, ResNet-9 of 0.4 M parameters, 12 epochs, 200 targets
mnist-logistic  5,000 images, logistic regression trained as in dattri's benchmark, 500 targets
mnist-mlp       the same with dattri's MLP (dropout .1), 50 epochs
language        290,000 tokens of a 13-domain corpus, GPT-2 of 0.3 M parameters, 4 epochs, targets of the same corpus
language-2      the same with another draw of pool and targets

Subsets are halves, all retrained from the same seeds; those of `language` have a seed each. Retrainings take from 40
minutes (language, one core) to 90 (cifar); they are kept under runs/lds, and their outputs, some 300 kB a ground, in
benchmarks/results/truths, from where they are read if pool and target are the same to the byte.
"""

import argparse
import gzip
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.attribution.peers.common import ROOT
from benchmarks.command import thresher
from thresher.data import Examples, open_examples
from thresher.proxies import ModelSettings
from thresher.studies import ProxyTable, retrain, train_checkpoints, train_proxies
from thresher.workspace import Workspace

RUNS = ROOT / "runs" / "lds"
TRUTHS = ROOT / "benchmarks" / "results" / "truths"
DIGITS = [str(digit) for digit in range(10)]
PIECE = 350
"""Characters in an example of the text setting: about 128 tokens."""
OF_PIECES = ["--id", "id", "--domain", "domain", "--group", "group", "--sequence-length", "256", "--quiet"]
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

    @property
    def is_text(self) -> bool:
        return self.data.startswith("text")


@dataclass(frozen=True)
class Ground:
    """A setting, made."""

    setting: Setting
    pool: Examples
    target: Examples
    models: list[Path]
    """Trained on the whole pool."""
    subsets: np.ndarray
    """[m, n], bool."""
    outputs: np.ndarray
    """Margins of each target example after retraining on each subset, [m, repeats, t]."""
    workspace: Workspace


def asked(
    doc: str | None,
    known: Mapping[str, Any],
    *,
    only: Sequence[str] = (),
    checkpoints: int | None = None,
    flags: Sequence[str] = (),
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments of a benchmark of several settings, and the results that its file holds already."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*(only or known)], choices=[*known])
    if checkpoints is not None:
        parser.add_argument("--checkpoints", type=int, default=checkpoints)
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("THRESHER_DATA", ROOT.parent / "shared/data")))
    arguments = parser.parse_args()
    return arguments, json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}


def keep(arguments: argparse.Namespace, results: Mapping[str, Any]) -> None:
    """Write the results to the file that was asked for."""
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def ground_of(name: str, data: Path, num_checkpoints: int) -> Ground:
    """Prepare the data, train what is missing, retrain what no file holds."""
    setting = SETTINGS[name]
    folder = RUNS / setting.data
    if not (folder / "target").exists():
        folder.mkdir(parents=True, exist_ok=True)
        setting.prepare(data, folder)
    pool, target = open_examples(folder / "pool"), open_examples(folder / "target")
    workspace = Workspace(RUNS / setting.table.size.replace(":", "-"), "cpu")
    training = {"seed": 0, "workers": None, "workspace": workspace}
    models = train_checkpoints(pool, setting.table, count=num_checkpoints, **training)
    hashes, file = [pool.content_hash, target.content_hash], TRUTHS / f"{name}.npz"
    stored = np.load(file) if file.exists() else None
    if stored is None or stored["made_from"].tolist() != hashes:
        truth = retrain(
            pool, target, setting.table, num_subsets=setting.num_subsets, repeats=setting.repeats, **training
        )
        TRUTHS.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            file,
            made_from=np.array(hashes),
            subsets=np.packbits(truth.subsets, axis=1),
            margin=truth.outputs("margin").astype(np.float32),
        )
        stored = np.load(file)
    subsets = np.unpackbits(stored["subsets"], axis=1, count=len(pool)).astype(bool)
    return Ground(setting, pool, target, models, subsets, stored["margin"], workspace)


def models_of_halves(ground: Ground) -> list[Path]:
    """As many models as the ground has, each trained on a random half of the pool."""
    table = ProxyTable(**asdict(ground.setting.table), count=len(ground.models), fraction=0.5)
    return [model.path for model in train_proxies(ground.pool, table, seed=0, workspace=ground.workspace)]


def part_of_target(ground: Ground, positions: np.ndarray, name: str) -> Examples:
    """Some of the target examples, prepared by themselves."""
    folder, ids = RUNS / ground.setting.data, {ground.target.ids[position] for position in positions}
    out = folder / "parts" / name
    if not out.exists():
        out.parent.mkdir(exist_ok=True)
        if ground.setting.is_text:
            rows = (folder / "pieces.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            source = out.with_suffix(".jsonl")
            source.write_text("".join(row for row in rows if json.loads(row)["id"] in ids), encoding="utf-8")
            _run(["prepare", "--data", str(source), *OF_PIECES, *_tokenizer(folder), "--out", str(out)])
        else:
            table = pq.read_table(folder / "target.parquet")
            pq.write_table(table.filter([str(index) in ids for index in table["index"]]), out.with_suffix(".parquet"))
            _prepare_images(out.parent, name)
    return open_examples(out)


def _cifar(data: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, file, size in (("pool", "train", 2000), ("target", "test", 200)):
        table = pq.read_table(data / "cifar10" / f"{file}.parquet", columns=["image", "label", "index"])
        kept = np.sort(rng.choice(len(table), size, replace=False))
        pq.write_table(table.take(kept), folder / f"{name}.parquet")
        _prepare_images(folder, name)  # the files name their classes


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
        _prepare_images(folder, name, "--classes", *DIGITS)


def _idx(data: Path, name: str) -> bytes:
    return gzip.decompress((data / "mnist" / f"{name}-ubyte.gz").read_bytes())


def text_corpus(data: Path, folder: Path, pool: float = 0.0, target: float = 0.5) -> None:
    # In pieces that a model reads at once: the other packages know no documents of several windows.
    table = pq.read_table(data / "corpus" / "documents.parquet", columns=["domain", "text"]).to_pylist()
    pieces = folder / "pieces.jsonl"
    with open(pieces, "w", encoding="utf-8") as file:
        for number, row in enumerate(table):
            for start in range(0, len(row["text"]), PIECE):
                piece = {"id": f"{number}:{start}", "domain": row["domain"], "group": str(number)}
                file.write(json.dumps(piece | {"text": row["text"][start : start + PIECE]}) + "\n")
    options = ["--data", str(pieces), *OF_PIECES]
    for name, start, size in (("pool", pool, 0.017), ("target", target, 0.001)):
        part = ["--part", f"{start:g}", f"{start + size:g}"]
        words = ["--vocab-size", "2048"] if name == "pool" else _tokenizer(folder)
        _run(["prepare", *options, *part, *words, "--out", str(folder / name)])


def _tokenizer(folder: Path) -> list[str]:
    return ["--tokenizer", str(folder / "pool-tokenizer")]


def _prepare_images(folder: Path, name: str, *more: str) -> None:
    data = ["--data", str(folder / f"{name}.parquet"), "--id", "index", "--out", str(folder / name)]
    _run(["prepare", "--task", "vision", *data, *more, "--quiet"])


def _run(arguments: list[str]) -> None:
    if thresher(arguments):
        raise SystemExit(2)


MODELS = "benchmarks.attribution.models"
LANGUAGE = Setting(
    prepare=text_corpus,
    data="text",
    table=ModelSettings(size="0.3M", epochs=4, batch_size=16, learning_rate=0.0007),
    num_subsets=80,
    repeats=2,
    ks=(512,),
)
"""At a third of the ladder's rate of then, 2e-3, where two retrainings of a subset agree by .77; at 2e-3 by .20."""
FULL_RATE = replace(LANGUAGE, table=ModelSettings(size="0.3M", parametrization="standard", epochs=4, batch_size=16))
SECOND_DRAW: dict[str, Any] = {"prepare": partial(text_corpus, pool=0.1, target=0.6), "data": "text-2"}
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
    "language-2": replace(LANGUAGE, **SECOND_DRAW),
    "language-full-rate": replace(FULL_RATE, num_subsets=160, repeats=1),
    "language-2-full-rate": replace(FULL_RATE, **SECOND_DRAW, num_subsets=101, repeats=1),
}
