"""A selection for others: its documents as Parquet, JSONL or MDS shards, their tokens as Megatron reads them, or their
ids, with a card that says what they are.

An exported row is a whole document: the source's own columns under their own names, its text exactly as it was written,
and beside them `id` (the example's, as in kept.parquet), `score` and `rank`. Where the source has a column of such a
name it keeps it, and ours is called `thresher_id`, `thresher_score` or `thresher_rank` (with more underscores, should
that be taken too); the fact `columns` says which is which. JSON has no NaN and no infinity: there they are null. Rows
stand in the order of the ranking.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build
from thresher.canonical import json_text
from thresher.choices import FORMATS
from thresher.data.examples import Examples, TokenExamples
from thresher.errors import InputError, unknown
from thresher.selection.selection import Selection
from thresher.studies.selections.training_exports import write_mds, write_megatron
from thresher.studies.selections.typed_columns import Types, arrow_types, schema_of, table_of

OURS = ("id", "score", "rank")
ROWS = 1024
"""Read and written at once."""
Row = dict[str, Any]


def check_export(format: str, rows_per_shard: int, pool: Examples | None) -> None:
    """Refuse, before anything is selected, what cannot be exported."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
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
    compared: Mapping[str, Selection] | None = None,
) -> Artifact:
    """An artefact of kind "export" at `out`: `kept-00000.FORMAT` with up to `rows_per_shard` rows each, MDS shards and
    their `index.json`, `kept.bin` and `kept.idx` of Megatron, or `kept.txt`; and the files of `card`, which says how
    much the selections `compared` keep too.

    JSON lines keep the types of the source's values. A Parquet column has the one type that holds them all; a column
    that has none (numbers and texts, objects of different shapes) is JSON text, and listed in the fact `json_columns`.
    """
    check_export(format, rows_per_shard, pool)

    def write(draft: Draft) -> dict[str, Any]:
        facts = {"num_rows": selection.kept.num_rows, "format": format}
        if format == "ids":
            with draft.file("kept.txt") as file:
                file.write_text(
                    "".join(f"{_on_a_line(id)}\n" for id in selection.kept["id"].to_pylist()), encoding="utf-8"
                )
        elif format == "megatron":
            assert isinstance(pool, TokenExamples)
            facts |= write_megatron(draft, selection, pool)
        else:
            assert isinstance(pool, TokenExamples)
            facts |= _write_rows(draft, selection, pool, format, rows_per_shard)
        for name, text in card.items():
            with draft.file(name) as file:
                file.write_text(text, encoding="utf-8")
        return facts

    inputs = {"selection": selection.artifact.content_hash} | ({} if pool is None else {"pool": pool.content_hash})
    inputs |= {f"compared {name}": other.artifact.content_hash for name, other in (compared or {}).items()}
    config = {"format": format, "rows_per_shard": rows_per_shard}
    return build(out, kind="export", config=config, seed=0, inputs=inputs, write=write)


def _on_a_line(id: str) -> str:
    if id.splitlines() != [id]:
        raise InputError(f"id {id!r} does not stand on one line of a file of ids; export as parquet or jsonl")
    return id


def _write_rows(
    draft: Draft, selection: Selection, pool: TokenExamples, format: str, rows_per_shard: int
) -> dict[str, Any]:
    names = our_names(_columns_of(selection, pool))

    def rows(start: int, count: int) -> Iterator[list[Row]]:
        return _rows(selection.kept.slice(start, count), pool, names)

    num_rows = selection.kept.num_rows
    if format == "mds":
        return {"columns": names} | write_mds(draft, lambda: rows(0, num_rows), rows_per_shard)
    types: Types = arrow_types(lambda: rows(0, num_rows)) if format == "parquet" else {}
    for number, start in enumerate(range(0, num_rows, rows_per_shard)):
        with draft.file(f"kept-{number:05d}.{format}") as file:
            if format == "parquet":
                _write_parquet(file, types, rows(start, rows_per_shard))
            else:
                _write_json_lines(file, format, rows(start, rows_per_shard))
    as_json = [name for name, kind in types.items() if kind is None]
    return {"columns": names} | ({"json_columns": as_json} if format == "parquet" else {})


def our_names(taken: Sequence[str]) -> dict[str, str]:
    """The names of `OURS` beside columns that are there: no two differ in case alone, which many readers do not see."""
    there, names = {name.casefold() for name in taken}, {}
    for name in OURS:
        own = name
        while own.casefold() in there:
            own = f"thresher_{name}" if own == name else f"{own}_"
        names[name] = own
        there.add(own.casefold())
    return names


def _columns_of(selection: Selection, pool: TokenExamples) -> list[str]:
    """Every column of the source that a kept row has, in the order in which they first occur."""
    found: dict[str, None] = {}
    for positions in _blocks(selection.kept):
        for row in pool.source_columns(positions["position"].to_numpy()):
            found |= dict.fromkeys(row)
    return list(found)


def _blocks(kept: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, kept.num_rows, ROWS):
        yield kept.slice(start, ROWS)


def _rows(kept: pa.Table, pool: TokenExamples, names: Mapping[str, str]) -> Iterator[list[Row]]:
    for block in _blocks(kept):
        own = block.select(list(OURS)).rename_columns([names[name] for name in OURS]).to_pylist()
        source = pool.source_columns(block["position"].to_numpy())
        yield [{**theirs, **ours} for theirs, ours in zip(source, own, strict=True)]


def _write_parquet(file: Path, types: Types, blocks: Iterator[list[Row]]) -> None:
    with pq.ParquetWriter(file, schema_of(types), compression="zstd") as writer:
        for rows in blocks:
            writer.write_table(table_of(rows, types))


def _write_json_lines(file: Path, format: str, blocks: Iterator[list[Row]]) -> None:
    packed = pa.CompressedOutputStream(str(file), "zstd") if format == "jsonl.zst" else pa.OSFile(str(file), "wb")
    with packed as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as stream:
        for rows in blocks:
            stream.writelines(json_text(row) + "\n" for row in rows)
