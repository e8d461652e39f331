"""Rows of Parquet and Arrow files (those of `datasets`' save_to_disk too), a few hundred at a time."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows
from thresher.data.sources.values import ClassName, no_column, take
from thresher.errors import InputError

BATCH = 512
NOT_TEXT = "\udcff"
"""Stands for a value that cannot be decoded: a lone surrogate, which nobody takes for text."""


def read_parquet(
    files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False
) -> Iterator[Row]:
    """Only the named columns are read (all, if none is named or `whole_rows`); `meta.source` is a struct's field."""
    for file in files:
        try:
            # Read ahead, what has been read would be held until the end: 0.56 MB a MB (pyarrow 26).
            opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the file cannot be opened at all
            raise InputError(f"{file} is not a Parquet file, or is damaged; write it again") from None
        with opened:
            if opened.metadata.num_rows == 0:
                raise InputError(f"{file} is empty: it has no rows; leave it out, or give a file with rows")
            wanted = _roots(file, opened.schema_arrow, columns)
            yield from _rows(
                opened.iter_batches(BATCH, columns=None if whole_rows else wanted),
                opened.schema_arrow,
                file,
                columns,
                bad,
            )


def read_arrow(files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False) -> Iterator[Row]:
    """Arrow's two formats: the stream that `datasets` writes, and the file (Feather)."""
    for file in files:
        with ExitStack() as stack:
            batches, schema = _open_arrow(file, stack)
            wanted = _roots(file, schema, columns)
            chosen = (batch.select(wanted) if wanted and not whole_rows else batch for batch in _sliced(batches))
            empty = True
            for row in _rows(chosen, schema, file, columns, bad):
                empty = False
                yield row
            if empty:
                raise InputError(f"{file} is empty: it has no rows; leave it out, or give a file with rows")


def _open_arrow(file: Path, stack: ExitStack) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    try:
        mapped = stack.enter_context(pa.memory_map(str(file)) if file.stat().st_size else pa.BufferReader(b""))
        if mapped.read(6) == b"ARROW1":
            opened = stack.enter_context(pa.ipc.open_file(mapped))
            return (opened.get_batch(number) for number in range(opened.num_record_batches)), opened.schema
        mapped.seek(0)
        stream = stack.enter_context(pa.ipc.open_stream(mapped))
        return iter(stream), stream.schema
    except (pa.ArrowException, OSError):
        raise InputError(f"{file} is not an Arrow file, or is damaged; write it again") from None


def _sliced(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)


def _rows(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, file: Path, columns: Sequence[str], bad: BadRows
) -> Iterator[Row]:
    labels, number = _class_names(schema), 0
    narrow = {name: exact for name in columns if name in schema.names and (exact := _exact(schema.field(name).type))}
    try:
        for batch in batches:
            for row in _plain_rows(batch, file, number, bad):
                number += 1
                for name in labels.keys() & row.keys():
                    row[name] = _class_name(row[name], labels[name], f"{file} row {number}: column {name!r}")
                for name, exact in narrow.items():
                    if row[name] is not None and abs(row[name]) >= exact:
                        row[name] = _NotPlain(f"{schema.field(name).type} {row[name]}")
                while missing := take(row, columns):  # a field of what could not be read as a whole
                    row[missing] = NOT_TEXT
                yield Row(str(file), number, row)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is damaged after row {number} ({reason}); write it again") from None


def _roots(file: Path, schema: pa.Schema, columns: Sequence[str]) -> list[str] | None:
    """The columns to read for `columns`; InputError for one that is not there. None: all."""
    roots = []
    for column in columns:
        root = _root(schema, column)
        if root is None:
            raise InputError(f"{file} {no_column(column, _all_names(schema))}")
        if schema.names.count(root) > 1:
            raise InputError(f"{file} has the column {root!r} {schema.names.count(root)} times; rename all but one")
        roots.append(root)
    return list(dict.fromkeys(roots)) or None


def _root(fields: Any, column: str) -> str | None:
    """The top-level column that holds `column`, which may be a field of a struct."""
    names = [field.name for field in fields]
    if column in names:
        return column
    for end in (place for place, letter in enumerate(column) if letter == "."):
        head, rest = column[:end], column[end + 1 :]
        kind = fields.field(head).type if head in names else None
        if kind is not None and pa.types.is_struct(kind) and _root(kind, rest) is not None:
            return head
    return None


def _all_names(schema: pa.Schema) -> list[str]:
    """Columns, and after one of structs its fields."""
    names = []
    for field in schema:
        names.append(field.name)
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{inner.name}" for inner in field.type]
    return names


def _plain_rows(batch: pa.RecordBatch, file: Path, before: int, bad: BadRows) -> list[dict]:
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):  # text that is not UTF-8, or a time beyond Python's
        columns = {
            name: _values(column, name, file, before, bad)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: pa.Array, name: str, file: Path, before: int, bad: BadRows) -> list:
    """The values of a column, one by one, some of which are not UTF-8."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    raw = column.cast(_as_bytes(kind))
    values = []
    for row, value in enumerate(raw, start=1):
        try:
            values.append(_decoded(value.as_py(), kind, "strict" if bad.refuses else "surrogateescape"))
        except UnicodeDecodeError as error:
            if bad.refuses:
                raise _not_utf8(file, before + row, name, error) from None
            values.append(NOT_TEXT)
        except (ValueError, OverflowError):
            values.append(_NotPlain(str(kind)))
    return values


class _NotPlain:
    """A value that Python has no type for."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __str__(self) -> str:
        return f"the {self._kind} beyond what is exact"


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with bytes for every text in it, in lists and structs too."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    return kind


def _decoded(value: Any, kind: pa.DataType, errors: str) -> Any:
    """What stood as bytes by `_as_bytes`, as the texts of `kind` again."""
    if value is None:
        return None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return value.decode("utf-8", errors)
    if pa.types.is_struct(kind):
        return {field.name: _decoded(value[field.name], field.type, errors) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_decoded(item, kind.value_type, errors) for item in value]
    return value


def _not_utf8(file: Path, row: int, column: str, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"{file} row {row}: column {column!r} is not UTF-8 at byte {error.start}; write it again as UTF-8, "
        "or have bad_rows skip or replace it"
    )


def _exact(kind: pa.DataType) -> int:
    """Below it a narrow float holds every whole number exactly; 0 for other types."""
    return 2**24 if pa.types.is_float32(kind) else 2**11 if pa.types.is_float16(kind) else 0


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Of the columns that `datasets` wrote as numbered classes, the names."""
    written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = written.get("info", {}).get("features", {})
    return {
        name: kind["names"]
        for name, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
    }


def _class_name(value: int | None, names: list[str], where: str) -> ClassName | None:
    if value is not None and not -1 <= value < len(names):
        raise InputError(f"{where} holds class {value}, but the file names {len(names)} classes; repair it")
    return ClassName.of(value, names)
