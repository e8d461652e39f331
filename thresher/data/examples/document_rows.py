"""The source's own documents beside their tokens: rows of `documents.parquet`, read where they are asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from thresher.data.examples.base import Positions


def rows_at(path: Path, indices: Positions) -> list[dict[str, Any]]:
    """The rows at `indices` of a table, in their order, reading only the groups that they are in."""
    indices = np.asarray(indices, dtype=np.int64)
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(groups)])
    group_of = np.searchsorted(starts, indices, side="right") - 1
    found: dict[int, dict[str, Any]] = {}
    for group in np.unique(group_of).tolist():
        table = file.read_row_group(group)
        inside = np.unique(indices[group_of == group])
        rows = table.take(inside - starts[group]).to_pylist()
        found |= dict(zip(inside.tolist(), rows, strict=True))
    return [found[index] for index in indices.tolist()]


def source_row(row: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of `documents.parquet` was made from; `named` says which columns of the source it is."""
    kept = json.loads(row["columns"] or "null")
    if kept is None:
        return {"prompt": row["prompt"], "text": row["text"]} if row["prompt"] else {"text": row["text"]}
    # The texts are not kept twice: null stands where they belong.
    own = {named.get("text"): row["text"], named.get("prompt"): row["prompt"]}
    return {name: own[name] if value is None and name in own else value for name, value in kept.items()}
