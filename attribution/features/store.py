"""Features of a pool on disk, read block by block."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from safetensors.numpy import load_file

from thresher.artifacts import Artifact, open_artifact
from thresher.attribution.features.packing import OUTPUTS, unpack_outputs
from thresher.data.examples import reads_alike
from thresher.errors import InputError

STORE_DTYPES = ("float16", "float32")
# Numbers in a shard: 8 MB of float16, so that reading one as float32 or float64 stays within some tens of megabytes.
SHARD_NUMBERS = 2**22
TOTALS = "totals"


class Shard(NamedTuple):
    """Consecutive examples of one checkpoint, read."""

    start: int
    features: Float[np.ndarray, "rows k"]
    outputs: dict[str, Float[np.ndarray, "rows"]]


@dataclass(frozen=True)
class FeatureStore:
    """Features and outputs of n examples under M checkpoints, read shard by shard."""

    artifact: Artifact

    @property
    def content_hash(self) -> str:
        """The hash of the artefact's content."""
        return self.artifact.content_hash

    @property
    def numbered_by(self) -> str | None:
        """The hash of the data whose rows the ids number; None where ids are the data's own, or nobody knows."""
        return self.artifact.facts.get("numbered_by")

    @property
    def num_examples(self) -> int:
        """Number of examples n."""
        return self.artifact.facts["num_examples"]

    @property
    def num_checkpoints(self) -> int:
        """Number of checkpoints M."""
        return self.artifact.facts["num_checkpoints"]

    @property
    def k(self) -> int:
        """Numbers in the features of one example under one checkpoint."""
        return self.artifact.facts["k"]

    @property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Where the numbers of each layer stand in the features (start, stop); one entry `all` unless kept apart."""
        return {name: (start, stop) for name, (start, stop) in self.artifact.facts["blocks"].items()}

    @property
    def shard_size(self) -> int:
        """Examples in a shard; the last one may hold fewer."""
        return self.artifact.facts["shard_size"]

    @property
    def num_shards(self) -> int:
        """Shards of each checkpoint."""
        return math.ceil(self.num_examples / self.shard_size)

    @property
    def space(self) -> dict[str, Any]:
        """All that decides which space features live in: only features of one space can be scored with each other."""
        meta = self.artifact.meta
        options = {key: meta["config"][key] for key in ("projection", "k", "output", "parameters")}
        models = {key: value for key, value in meta["inputs"].items() if key.startswith("model ")}
        options |= {"sketches": meta["config"].get("sketches"), "views": ", ".join(meta["config"].get("views", []))}
        options |= {"scales": ", ".join(meta["config"].get("scales", []))}
        return {"seed": meta["seed"]} | options | models | {"reads": self.artifact.facts.get("reads", {})}

    @cached_property
    def ids(self) -> list[str]:
        """The id of each example, in order."""
        return self._column("id")

    @property
    def is_classified(self) -> bool:
        """Whether each example is labelled with a class."""
        return self.artifact.facts.get("is_classified", False)

    @cached_property
    def domains(self) -> np.ndarray:
        """The domain of each example, in order; None where it has none."""
        return np.asarray(self._column("domain"))

    @cached_property
    def lengths(self) -> Int[np.ndarray, "n"] | None:
        """Tokens of each example, 1 of an image; None where whoever made the store did not say."""
        names = pq.read_schema(self.artifact.file("examples.parquet")).names
        return np.asarray(self._column("length"), dtype=np.int64) if "length" in names else None

    def blocks(self, checkpoint: int) -> Iterator[tuple[int, Float[np.ndarray, "rows k"]]]:
        """(index of the first row, float32 features) of each shard in turn; one shard in memory at a time."""
        for shard in self.shards(checkpoint):
            yield shard.start, shard.features

    def shards(self, checkpoint: int) -> Iterator[Shard]:
        """Each shard in turn, features and outputs."""
        return (self.shard(checkpoint, index) for index in range(self.num_shards))

    def shard(self, checkpoint: int, index: int) -> Shard:
        """The shard of one checkpoint at this index, with features in float32."""
        stored = load_file(self.artifact.file(_shard_name(checkpoint, index)))
        features = stored["features"].astype(np.float32) * stored["scale"]
        return Shard(index * self.shard_size, features, unpack_outputs(stored))

    def example(self, checkpoint: int, row: int) -> Float[np.ndarray, "k"]:
        """The features of one example."""
        shard = self.shard(checkpoint, row // self.shard_size)
        return shard.features[row - shard.start]

    def outputs(self, checkpoint: int) -> dict[str, Float[np.ndarray, "n"]]:
        """margin, loss, confidence and doubt (`thresher.outputs`) of all examples."""
        shards = [shard.outputs for shard in self.shards(checkpoint)]
        return {name: np.concatenate([outputs[name] for outputs in shards]) for name in OUTPUTS}

    def examples_of(self, index: int) -> pa.Table:
        """The columns id and domain of one shard."""
        return pq.ParquetFile(self.artifact.file("examples.parquet")).read_row_group(index, columns=["id", "domain"])

    def ids_at(self, rows: Int[np.ndarray, "r"]) -> list[str]:
        """The ids of some rows, reading only the shards they are in."""
        id_of_row: dict[int, str] = {}
        for index in np.unique(rows // self.shard_size).tolist():
            ids = self.examples_of(index)["id"]
            inside = np.unique(rows[rows // self.shard_size == index])
            id_of_row |= {row: ids[row - index * self.shard_size].as_py() for row in inside.tolist()}
        return [id_of_row[row] for row in rows.tolist()]

    def _column(self, name: str) -> list:
        return pq.read_table(self.artifact.file("examples.parquet"), columns=[name])[name].to_pylist()


def open_features(path: Path) -> FeatureStore:
    """Open the feature store at `path`. Raises InputError when it is missing, damaged or something else."""
    return FeatureStore(open_artifact(path, "features"))


def check_space(pool: dict[str, Any], name: str, target: FeatureStore) -> None:
    """Refuse a target whose features do not live in the pool's space, or whose examples are read in another way.

    `pool` is the `space` of the pool's store. Raises InputError, which says both values.
    """
    pool, its = dict(pool), target.space
    reads, its_reads = pool.pop("reads", {}), its.pop("reads", {})
    for key in reads.keys() & its_reads.keys():
        if not reads_alike(key, reads[key], its_reads[key]):
            option = {"tokenizer": "--tokenizer", "classes": "--classes", "image_shape": "--size"}[key]
            raise InputError(
                f"target {name!r} is of examples with another {key.replace('_', ' ')} than the pool's "
                f"({_shown(its_reads[key])}, the pool's {_shown(reads[key])}); prepare both with the same {option}"
            )
    for key in pool | its:
        if pool.get(key) != its.get(key):
            raise InputError(
                f"target {name!r} was featurised with {key} = {its.get(key)!r}, the pool with {pool.get(key)!r}; "
                "featurise both with the same models, options and seed"
            )


def _shard_name(checkpoint: int, index: int) -> str:
    return f"checkpoint{checkpoint:03d}-shard{index:05d}.safetensors"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) < 48 else f"{text[:40]}.."
