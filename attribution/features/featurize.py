"""One pass over a pool or target: projected per-example gradients and outputs, on disk, for every checkpoint.

A feature store is an artefact of kind "features": `examples.parquet` (id, domain) and, for each checkpoint and shard,
one `.safetensors` file with the features [rows, k] (float16 under one power-of-two scale) and the outputs [rows] (see
`packing`). A finished shard is a checkpoint of the work: a killed run continues with the first missing one.

Examples are as `prepare` made them: what a document is read in, and what of a long prompt is cut off, was decided
there. The features and outputs of a document that is read in several windows are the means over its predicted tokens,
that is over its windows by their shares of those. Here nothing is cut: batches are by token count, each padded to its
own longest, whatever the model's context is; a window longer than that is the model's to refuse.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Int
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from thresher.artifacts import Artifact, Draft, build, is_sound, piece
from thresher.attribution.features.packing import OUTPUTS, pack, pack_outputs
from thresher.attribution.features.store import SHARD_NUMBERS, STORE_DTYPES, TOTALS, _shard_name
from thresher.attribution.gradients.blocks import SKETCHES
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.attribution.gradients.projection import AUTO, SIDED, usual
from thresher.attribution.gradients.views import check_views, featurize_views
from thresher.data.batches import balanced_batches
from thresher.data.examples import Examples, add_shares
from thresher.devices import keep_memory, pick_device
from thresher.errors import InputError, unknown
from thresher.executors.jobs import run_jobs
from thresher.progress import SILENT, Progress

# What the featuriser of the last shard says of itself.
FACTS = "featurizer.json"
Scales = tuple[str, Callable[[], Mapping[str, Tensor]]]
"""The hash of what gradients are multiplied by, and what loads it: by parameter, of its shape."""


def featurize(
    models: Sequence[tuple[str, Callable[[], nn.Module]]],
    examples: Examples,
    *,
    out: Path,
    projection: str = AUTO,
    k: int | None = None,
    seed: int = 0,
    output: str = "margin",
    parameters: str | None = None,
    precision: str = "float32",
    views: Sequence[str] = (),
    scales: Sequence[Scales] | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    shard_size: int | None = None,
    store_dtype: str = "float16",
    executor: str = "processes",
    progress: Progress = SILENT,
) -> Artifact:
    """Projected gradients and outputs of every example under every model, as a feature store at `out`.

    `models` are (content hash, loader) pairs, one a checkpoint; a model is loaded when its turn comes. Projection auto
    and k None are filled in by the task of the examples (`usual`). `views` of
    images (flip, shift) are averaged over: see `views`. `scales`, one a model, multiply gradients before they are
    projected: see `Featurizer`. `shard_size` is in examples; by default a shard holds 4 million
    numbers (give it where projection identity makes features longer than `k`). `batch_tokens` bounds the padded tokens,
    or images, of a batch. Neither it nor the device is part of the request: they change rounding at most, and a run
    that ran out of memory must be able to resume with smaller batches.
    `executor`: processes, which makes one shard after the other here, or ray, where each shard of a checkpoint is a job
    of its own that writes its file, so `out` must be a place that every worker of the cluster sees.
    Raises InputError on unknown options, for an example whose features are not finite, and for a model that no example
    moves.
    """
    projection, k = usual(projection, k, is_classified=examples.is_classified)
    _check(models, examples, k, batch_tokens, shard_size, store_dtype)
    check_views(views)
    size = shard_size or max(64, SHARD_NUMBERS // k)
    options = {"projection": projection, "k": k, "output": output, "parameters": parameters, "precision": precision}
    featurizer_options = {**options, "seed": seed, "device": device}
    if projection in SIDED:
        seen = ".79 on images with k = 512" if examples.is_classified else ".58 on texts with k = 4,096"
        logging.getLogger(__name__).warning(
            f"projection {projection} loses what no estimate sees: scores agree with those without a projection by "
            f"{seen} (two-sided), and by .95 or more with sjlt and the usual k; pass projection sjlt"
        )
    if scales is not None and len(scales) != len(models):
        raise InputError(f"{len(scales)} scales were given for {len(models)} models; give one for each")
    work = _Work(models, examples, batch_tokens, store_dtype, size, tuple(views), progress, featurizer_options, scales)

    def write(draft: Draft) -> dict:
        if executor == "processes":
            work.run_all(draft)
        else:
            work.spread(draft, executor)
        work.write_examples(draft)
        return work.facts(draft)

    inputs = {"examples": examples.content_hash} | {f"model {i}": name for i, (name, _) in enumerate(models)}
    config = options | {"store_dtype": store_dtype, "shard_size": work.shard_size, "sketches": SKETCHES}
    config |= {"views": list(views)} if views else {}
    config |= {"scales": [content_hash for content_hash, _ in scales]} if scales else {}
    return build(out, kind="features", config=config, seed=seed, inputs=inputs, write=write)


@dataclass(frozen=True)
class _Work:
    models: Sequence[tuple[str, Callable[[], nn.Module]]]
    examples: Examples
    batch_tokens: int | None
    store_dtype: str
    shard_size: int
    views: tuple[str, ...]
    progress: Progress
    options: dict[str, Any]
    """Of the featurisers; `device` as it was asked for."""
    scales: Sequence[Scales] | None = None

    @property
    def num_shards(self) -> int:
        return math.ceil(len(self.examples) / self.shard_size)

    @cached_property
    def lengths(self) -> Int[np.ndarray, "w"]:
        """Tokens of each window."""
        return np.asarray(self.examples.windows.lengths)

    @property
    def budget(self) -> int:
        is_sequence = bool((self.lengths > 1).any())
        return self.batch_tokens or (8192 if is_sequence else 256)

    def missing(self, draft: Draft, checkpoint: int) -> list[int]:
        """The shards of a checkpoint that are still to be made; the first one too where it has to say its facts."""
        missing = [index for index in range(self.num_shards) if not draft.has(_shard_name(checkpoint, index))]
        is_last = checkpoint == len(self.models) - 1
        return missing or ([0] if is_last and not is_sound(draft.state / FACTS) else [])

    def run_all(self, draft: Draft) -> None:
        for checkpoint in range(len(self.models)):
            if missing := self.missing(draft, checkpoint):
                self.run(draft, checkpoint, missing)

    def spread(self, draft: Draft, executor: str) -> None:
        """Every missing shard as a job of its own."""
        jobs = [(checkpoint, i) for checkpoint in range(len(self.models)) for i in self.missing(draft, checkpoint)]
        # As it is sent: what was read from disk is read again there, and a bar stays here.
        sent = replace(self, examples=type(self.examples)(self.examples.artifact), progress=SILENT)
        with self.progress.task("feature shards", len(jobs)) as advance:
            work, device = partial(_run_shard, sent, draft), self.options["device"]
            for _ in run_jobs(work, jobs, workers=None, executor=executor, device=device):
                advance(1)

    def run(self, draft: Draft, checkpoint: int, missing: list[int]) -> None:
        options = {**self.options, "device": pick_device(self.options["device"])}
        if options["device"].type == "cpu":
            keep_memory()
        if self.scales is not None:
            options["scales"] = self.scales[checkpoint][1]()
        with Featurizer(self.models[checkpoint][1](), model_id=checkpoint, **options) as featurizer:
            self._write(draft, featurizer, checkpoint, missing)

    def _write(self, draft: Draft, featurizer: Featurizer, checkpoint: int, missing: list[int]) -> None:
        rows = sum(len(self._rows(index)) for index in missing)
        label = f"features, checkpoint {checkpoint + 1} of {len(self.models)}"
        with self.progress.task(label, rows) as advance:
            for index in missing:
                tensors = self._featurize(featurizer, self._rows(index), checkpoint, advance)
                facts = {"k": featurizer.num_features, "coverage": featurizer.coverage, "blocks": featurizer.layout}
                facts["gradient_size"] = sum(featurizer.model.get_parameter(n).numel() for n in featurizer.coverage)
                with piece(draft.state / FACTS) as file:
                    file.write_text(json.dumps(facts))
                with draft.file(_shard_name(checkpoint, index)) as file:
                    save_file(tensors, file)

    def _featurize(self, featurizer: Featurizer, rows: np.ndarray, checkpoint: int, advance: Callable) -> dict:
        sums = {name: torch.zeros(len(rows)) for name in (*OUTPUTS, "correct")}
        total = torch.zeros(len(rows), featurizer.num_features)
        windows, owners = self.examples.windows_of(rows)
        weights = self.examples.windows.weights[windows]
        for members in balanced_batches(self.lengths[windows], self.budget):
            features, outputs = featurize_views(featurizer, self.examples.batch(windows[members]), self.views)
            add_shares(total, owners[members], weights[members], features.detach().cpu())
            for name, sum_of in sums.items():
                add_shares(sum_of, owners[members], weights[members], getattr(outputs, name).detach().cpu())
            advance(len(np.unique(owners[members])))
        self._refuse_nonfinite(total.numpy(), rows, checkpoint)
        totals = np.array([sums[name].numpy().sum(dtype=np.float64) for name in ("loss", "correct")])
        packed_outputs = pack_outputs({name: sums[name].numpy() for name in OUTPUTS})
        return pack(total.numpy(), self.store_dtype) | packed_outputs | {TOTALS: totals}

    def _refuse_nonfinite(self, features: np.ndarray, rows: np.ndarray, checkpoint: int) -> None:
        bad = ~np.isfinite(features).all(axis=1)
        if bad.any():
            example = self.examples.ids[int(rows[bad.argmax()])]
            raise InputError(
                f"model {checkpoint} gives example {example!r} features that are not finite ({bad.sum()} such examples "
                "in its shard); check that the model did not diverge, or use precision float32"
            )

    def _rows(self, index: int) -> np.ndarray:
        return np.arange(index * self.shard_size, min((index + 1) * self.shard_size, len(self.examples)))

    def write_examples(self, draft: Draft) -> None:
        columns = {"id": pa.array(self.examples.ids, pa.string()), "domain": pa.array(self.examples.domains)}
        table = pa.table(columns | {"length": pa.array(np.asarray(self.examples.lengths()), pa.int64())})
        with draft.file("examples.parquet") as file:
            # One row group a shard, so that ids are read with the shard they belong to; ids mostly share a beginning.
            encoding = {"use_dictionary": ["domain"], "column_encoding": {"id": "DELTA_BYTE_ARRAY"}}
            zstd = {"compression": "zstd", "compression_level": 19}
            pq.write_table(table, file, row_group_size=self.shard_size, **zstd, **encoding)

    def facts(self, draft: Draft) -> dict:
        padded = 0
        for index in range(self.num_shards):
            lengths = self.lengths[self.examples.windows_of(self._rows(index))[0]]
            padded += sum(len(batch) * int(lengths[batch].max()) for batch in balanced_batches(lengths, self.budget))
        return {
            "num_examples": len(self.examples),
            "numbered_by": self.examples.numbered_by,
            "num_checkpoints": len(self.models),
            "shard_size": self.shard_size,
            "is_classified": self.examples.is_classified,
            "num_tokens": int(self.lengths.sum()),
            "padding": round(1 - float(self.lengths.sum()) / padded, 4),
            "reads": self.examples.reading,
            "outputs": [self._outputs(draft, checkpoint) for checkpoint in range(len(self.models))],
            **json.loads((draft.state / FACTS).read_text()),
        }

    def _outputs(self, draft: Draft, checkpoint: int) -> dict[str, float]:
        """Mean loss and accuracy of one model, beside the loss of a uniform guess.

        Refuses a model that no example moves: there is nothing to attribute to.
        """
        totals, moves = np.zeros(2), False
        for index in range(self.num_shards):
            with safe_open(draft.path / _shard_name(checkpoint, index), framework="np") as stored:
                totals += stored.get_tensor(TOTALS)
                moves = moves or bool(stored.get_tensor("features").any())
        if not moves:
            raise InputError(
                f"model {checkpoint} has a gradient of zero for every example: its outputs do not depend on the "
                "parameters that are attributed to; give a trained model, or other parameters"
            )
        loss, accuracy = (totals / len(self.examples)).tolist()
        return {"loss": loss, "accuracy": accuracy, "uniform_loss": math.log(self.examples.num_outcomes)}


def _run_shard(work: _Work, draft: Draft, job: tuple[int, int]) -> None:
    checkpoint, index = job
    work.run(draft, checkpoint, [index])


def _check(
    models: Sequence, examples: Examples, k: int, batch_tokens: int | None, shard_size: int | None, store_dtype: str
) -> None:
    if not models:
        raise InputError("no model given; pass at least one checkpoint")
    if len(examples) == 0:
        raise InputError("the data has 0 examples; give data with at least one")
    for name, value in {"k": k, "batch_tokens": batch_tokens, "shard_size": shard_size}.items():
        if value is not None and value < 1:
            raise InputError(f"{name}={value} is out of range; pass a positive number")
    if store_dtype not in STORE_DTYPES:
        raise unknown("store_dtype", store_dtype, STORE_DTYPES)
