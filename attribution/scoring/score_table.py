"""The scores artefact of methods that make no features: `scores.parquet`, its facts, what a resumed run finds."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save_file

from thresher.artifacts import Draft, is_sound, piece
from thresher.data.examples import Examples

ROWS_A_GROUP = 2**16


def write_scores(
    draft: Draft,
    pool: Examples,
    columns: Mapping[str, Float[np.ndarray, "n"]],
    num_checkpoints: int,
    targets: Mapping[str, Examples],
) -> dict:
    """Write `scores.parquet` and `lengths.npy`, and give the facts that every scores artefact has.

    `scores.parquet` has an id, a domain and a float32 column a target; `lengths.npy` says what each example holds, so
    that a budget can be in tokens.
    """
    labels = pq.read_table(pool.artifact.file("examples.parquet"), columns=["id", "domain"])
    named = {name: labels[name].cast(pa.string()) for name in ("id", "domain")}
    table = pa.table(named | {name: column.astype(np.float32) for name, column in columns.items()})
    with draft.file("scores.parquet") as file:
        pq.write_table(table, file, compression="zstd", row_group_size=ROWS_A_GROUP)
    write_lengths(draft, pool.lengths())
    return {
        "num_examples": len(pool),
        "numbered_by": pool.numbered_by,
        "num_checkpoints": num_checkpoints,
        "targets": {
            name: {"mean": float(v.mean()), "sd": float(v.std()), "tied": num_tied(v.astype(np.float32))}
            for name, v in columns.items()
        },
        "num_target_examples": {name: len(target) for name, target in targets.items()},
    }


def num_tied(scores: Float[np.ndarray, "n"]) -> int:
    """How many examples have a score that another has too: their order says nothing."""
    _, counts = np.unique(scores, return_counts=True)
    return int(counts[counts > 1].sum())


def write_lengths(draft: Draft, lengths: Int[np.ndarray, "n"]) -> None:
    """Write `lengths.npy`: tokens of each example, 1 of an image."""
    with draft.file("lengths.npy") as file, open(file, "wb") as stream:
        np.save(stream, np.asarray(lengths, dtype=np.int64))


def saved(draft: Draft, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` gives, kept in the draft's state: made once, read by a run that resumes."""
    if not is_saved(draft, name):
        arrays = make()
        with piece(_state(draft, name)) as file:
            # safetensors writes the bytes as they lie, whatever the strides say.
            save_file({key: np.asarray(value, order="C") for key, value in arrays.items()}, file)
    return load_state(draft, name)


def is_saved(draft: Draft, name: str) -> bool:
    """Whether `saved` has kept something under this name, and it is sound."""
    return is_sound(_state(draft, name))


def load_state(draft: Draft, name: str) -> dict[str, np.ndarray]:
    """Load what `saved` has kept under this name."""
    return load_file(_state(draft, name))


def _state(draft: Draft, name: str) -> Path:
    return draft.state / f"{name}.safetensors"
