"""A selection for others: its examples as Parquet or JSONL shards, or as ids, with a card that says what they are.

An exported row is an example as the pool has it: for a packed pool one sequence of tokens, decoded, which may begin or
end inside a document; `documents` lists the ids of those it is cut from. Rows stand in the order of the ranking.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build
from thresher.cli.selecting import decoded
from thresher.data.examples import Examples, TokenExamples
from thresher.errors import InputError
from thresher.selection.selection import Selection

FORMATS = ("parquet", "jsonl", "jsonl.zst", "ids")


def check_export(format: str, rows_per_shard: int, pool: Examples | None) -> None:
    """Refuse, before anything is selected, what cannot be exported."""
    if format not in FORMATS:
        raise InputError(f"format {format!r} is unknown; pass one of: {', '.join(FORMATS)}")
    if rows_per_shard < 1:
        raise InputError(f"{rows_per_shard} rows a shard hold nothing; pass 1 or more")
    if format != "ids" and pool is None:
        raise InputError(f"an export as {format} needs the texts; pass --pool, or --format ids")
    if format != "ids" and not isinstance(pool, TokenExamples):
        raise InputError(f"the pool holds no text to export as {format}; pass --format ids")


def export(
    selection: Selection,
    pool: Examples | None,
    *,
    out: Path,
    format: str,
    rows_per_shard: int,
    card: Mapping[str, str],
) -> Artifact:
    """An artefact of kind "export" at `out`: `kept-00000.FORMAT` with up to `rows_per_shard` rows each, or `kept.txt`,
    and the files of `card`."""
    check_export(format, rows_per_shard, pool)

    def write(draft: Draft) -> dict[str, Any]:
        num_rows = selection.kept.num_rows
        if format == "ids":
            with draft.file("kept.txt") as file:
                file.write_text("".join(f"{id}\n" for id in selection.kept["id"].to_pylist()), encoding="utf-8")
        else:
            assert isinstance(pool, TokenExamples)
            for number, start in enumerate(range(0, num_rows, rows_per_shard)):
                with draft.file(f"kept-{number:05d}.{format}") as file:
                    _write(file, format, _tables(selection.kept.slice(start, rows_per_shard), pool))
        for name, text in card.items():
            with draft.file(name) as file:
                file.write_text(text, encoding="utf-8")
        return {"num_rows": num_rows, "format": format}

    inputs = {"selection": selection.artifact.content_hash} | ({} if pool is None else {"pool": pool.content_hash})
    config = {"format": format, "rows_per_shard": rows_per_shard}
    return build(out, kind="export", config=config, seed=0, inputs=inputs, write=write)


def _tables(kept: pa.Table, pool: TokenExamples) -> Iterator[pa.Table]:
    """Rows with their text and documents, some at a time."""
    documents = pool.column("documents")
    for batch in kept.to_batches(max_chunksize=1024):
        rows = batch.column("position").to_numpy()
        yield (
            pa.Table.from_batches([batch])
            .select(["id", "domain", "score", "rank"])
            .append_column("documents", pa.array([documents[row] for row in rows], pa.list_(pa.string())))
            .append_column("text", pa.array([text for _, text in decoded(pool, np.asarray(rows))], pa.string()))
        )


def _write(file: Path, format: str, tables: Iterator[pa.Table]) -> None:
    if format == "parquet":
        first = next(tables)
        with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
            for table in (first, *tables):
                writer.write_table(table)
        return
    packed = pa.CompressedOutputStream(str(file), "zstd") if format == "jsonl.zst" else pa.OSFile(str(file), "wb")
    with packed as raw, io.TextIOWrapper(raw, encoding="utf-8") as stream:
        for table in tables:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
