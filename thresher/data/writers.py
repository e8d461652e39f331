"""The tables of a prepared set, written block by block: ids and domains, documents as written, the right choices."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

T = TypeVar("T")


class ExamplesTable:
    """Columns `id`, `domain` and, for text, `documents`: the ids of the source's documents in the example."""

    def __init__(self, path: Path, *, documents: bool) -> None:
        fields = [("id", pa.string()), ("domain", pa.string())]
        if documents:
            fields.append(("documents", pa.list_(pa.string())))
        self._schema = pa.schema(fields)
        self._writer = pq.ParquetWriter(path, self._schema)

    def append(self, ids: list[str], domains: list[str], documents: list[list[str]] | None = None) -> None:
        columns = [ids, domains] if documents is None else [ids, domains, documents]
        self._writer.write_table(pa.table(dict(zip(self._schema.names, columns, strict=True)), schema=self._schema))

    def __enter__(self) -> "ExamplesTable":
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()


class DocumentsTable:
    """Columns `prompt`, `text` and `columns`: documents as the source has them, a row an example.

    `columns` is the rest of the source's row as JSON, by the names of its columns (null where it was not kept).
    """

    def __init__(self, path: Path) -> None:
        self._schema = pa.schema([(name, pa.string()) for name in ("prompt", "text", "columns")])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def append(self, rows: list[tuple[str, str, str]]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> "DocumentsTable":
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()


class ChoicesTable:
    """Columns `example` (the row of the example) and `right`, a row for each choice, in the examples' order."""

    def __init__(self, path: Path) -> None:
        self._schema = pa.schema([("example", pa.int64()), ("right", pa.bool_())])
        self._writer = pq.ParquetWriter(path, self._schema)

    def append(self, examples: Iterable[tuple[int, int, int]]) -> None:
        """(row, number of choices, number of the right one) of each example."""
        rows = [(row, choice == answer) for row, count, answer in examples for choice in range(count)]
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> "ChoicesTable":
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()


def chunks(items: Iterable[T], size: int, limit: int | None = None) -> Iterator[list[T]]:
    """Lists of `size` items (the last may be shorter), of the first `limit` items."""
    iterator = islice(items, limit)
    while block := list(islice(iterator, size)):
        yield block
