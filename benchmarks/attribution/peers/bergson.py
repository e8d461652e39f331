"""bergson 2.5.1: `bergson build` in float32 on one process, and its `trak` pipeline for scores.

It reads a `transformers` checkpoint (an artefact's folder is one) and a saved `datasets` table of token ids. It covers
the weights of linear layers inside the transformer: no embeddings, norms, biases or output matrix. A batch may not have
more tokens than the model has positions. Scores of `trak` are of log-odds: higher is more helpful, nothing is flipped.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bergson.build as builder
import numpy as np
from bergson.cli.commands import Build
from bergson.config.config import (
    DataConfig,
    IndexConfig,
    PreprocessConfig,
    QuerySetConfig,
    TrackstarIndexConfig,
    TrakConfig,
)
from bergson.config.config_io import save_run_config
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from benchmarks.attribution.peers.child import plain_round
from benchmarks.attribution.peers.common import TOKENS, Job
from benchmarks.attribution.peers.data import batches, load_model, pool_of, targets_of

SIDE = 16
"""Of both sides of each module's projection; a global one has k numbers."""


def rounds(job: Job) -> tuple[Callable, Callable, Callable]:
    """A round is `build` of the whole pool, of which the collection of gradients counts; loading is in `parts`."""
    plain = plain_round(load_model(job.models[0]), list(batches(pool_of(job))))
    config, collect = _config(job), builder.collect_gradients
    passes: list[float] = []
    builds: list[float] = []

    def timed(*args, **kwargs) -> None:
        start = time.perf_counter()
        collect(*args, **kwargs)
        passes.append(time.perf_counter() - start)

    builder.collect_gradients = timed

    def theirs() -> float:
        _clear(job)
        start = time.perf_counter()
        builder.build(config, PreprocessConfig())
        builds.append(time.perf_counter() - start)
        return passes[-1]

    return plain, theirs, lambda: {"parts": {"build, loading included": float(np.median(builds[1:]))}}


def prepare(job: Job) -> dict:
    _clear(job)
    save_run_config(Build(_config(job), PreprocessConfig()), job.out)
    return {"command": [sys.executable, "-m", "bergson", str(Path(job.out) / "config.yaml")]}


def scores(job: Job) -> dict:
    """`bergson-trak-kK.npy` [n, t] with its defaults: no damping, and a mean over checkpoints."""
    from bergson.cli.trak import trak

    out = Path(job.out)
    query = QuerySetConfig(dataset=_dataset(targets_of(job), out / "query-data"), aggregation="none")
    config = _config(job, TrackstarIndexConfig, loss_fn="log_odds", loss_reduction="mean", run_path=str(out / "trak"))
    shutil.rmtree(config.run_path, ignore_errors=True)
    trak(config, TrakConfig(query=query, checkpoints=list(job.models)))
    folder = Path(config.run_path) / "scores"
    info = json.loads((folder / "info.json").read_text())
    stored = np.memmap(folder / "scores.bin", dtype=info["dtype"], mode="r", shape=(info["num_rows"],))
    name = f"bergson-trak-k{job.k}"
    np.save(out / f"{name}.npy", np.stack([stored[f"score_{i}"] for i in range(info["num_scores"])], axis=1))
    return {"scores": {name: {"damping": 0.0}}}


def _config(job: Job, kind: type[IndexConfig] = IndexConfig, **more) -> IndexConfig:
    out = Path(job.out)
    model = json.loads((Path(job.models[0]) / "config.json").read_text())
    positions = model.get("max_position_embeddings") or model["n_positions"]
    per_module = "per module" in job.method
    options = {
        "run_path": str(out / "index"),
        "model": job.models[0],
        "tokenizer": _tokenizer(model["vocab_size"], out / "tokenizer"),
        "data": DataConfig(dataset=_dataset(pool_of(job), out / "data")),
        "projection_dim": SIDE if per_module else job.k,
        "projection_target": "per_module" if per_module else "global",
        "projection_type": "rademacher",
        "token_batch_size": min(TOKENS, positions),
    }
    return kind(**options | more)


def _dataset(examples, folder: Path) -> str:
    rows = [examples.batch([row]) for row in range(len(examples))]
    columns = {
        "input_ids": [row["input_ids"][0].tolist() for row in rows],
        "labels": [row["labels"][0].tolist() for row in rows],
        "length": [row["input_ids"].shape[1] for row in rows],
    }
    Dataset.from_dict(columns).save_to_disk(str(folder))
    return str(folder)


def _tokenizer(vocab_size: int, folder: Path) -> str:
    """One that bergson can load; it is not asked to tokenise anything."""
    words = models.WordLevel({str(token): token for token in range(vocab_size)}, unk_token="0")
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), unk_token="0", pad_token="0", eos_token="0"
    ).save_pretrained(folder)
    return str(folder)


def _clear(job: Job) -> None:
    for name in ("index", "index.part"):
        shutil.rmtree(Path(job.out) / name, ignore_errors=True)
