"""Selections as what to train on: checked to be of the very pool they are applied to."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.selection.selection import open_selection


def kept_positions(path: Path, pool: Examples) -> Int[np.ndarray, "k"]:
    """The positions in `pool` that the selection at `path` kept, in order; refuses a selection of another pool."""
    selection = open_selection(path)
    ids, positions = selection.kept["id"].to_pylist(), selection.positions
    size = len(np.unique(positions)) + len(selection.dropped)
    if size != len(pool) or any(pool.ids[position] != id for position, id in zip(positions, ids, strict=True)):
        raise InputError(f"{path} does not select from {pool.artifact.path}; give the pool that was scored")
    return np.sort(positions)
