"""The tables of a prepared set, written block by block: ids and domains, documents as written, the right choices."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

T = TypeVar("T")
NUMBERED = "ids_are_row_numbers"


class ExamplesTable:
    """Columns `id`, `domain` and, for text, `documents`: the ids of the source's documents in the example."""

    def __init__(self, path: Path, *, documents: bool) -> None:
        fields = [("id", pa.string()), ("domain", pa.string())]
        if documents:
            fields.append(("documents", pa.list_(pa.string())))
        self._schema = pa.schema(fields)
        self._writer = pq.ParquetWriter(path, self._schema)

    def append(self, ids: list[str], domains: list[str], documents: list[list[str]] | None = None) -> None:
        """Write a block of examples."""
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
        """Write a block of documents: the prompt, the text and the columns of each."""
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
        """Write a block of examples: the row, the number of choices and the number of the right one of each."""
        rows = [(row, choice == answer) for row, count, answer in examples for choice in range(count)]
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> "ChoicesTable":
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()


def numbering(numbered: bool | None) -> dict[str, bool]:
    """The fact that says whether the ids of examples are the numbers of their rows; none where it is not known."""
    return {} if numbered is None else {NUMBERED: numbered}


def chunks(items: Iterable[T], size: int, limit: int | None = None) -> Iterator[list[T]]:
    """Lists of `size` items (the last may be shorter), of the first `limit` items."""
    iterator = islice(items, limit)
    while block := list(islice(iterator, size)):
        yield block


class ArrayWriter:
    """Appends rows to a `.npy` file; the header is written again, with the final count, when it is closed."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.dtype | type) -> None:
        self.dtype, self.row_shape, self.num_rows = np.dtype(dtype), row_shape, 0
        self._file = open(path, "wb")  # noqa: SIM115 (closed in __exit__)
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """Write a block of rows, [r, *row_shape]."""
        assert rows.shape[1:] == self.row_shape, (rows.shape, self.row_shape)
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.num_rows += len(rows)

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(self, *_) -> None:
        self._file.seek(0)
        self._write_header()  # of the same length: NumPy pads headers for the first axis to grow
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.num_rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
