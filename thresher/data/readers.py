"""Rows out of files, plainly: JSON lines, CSV, text files and Parquet, one at a time and with their place."""

import bz2
import csv
import gzip
import json
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.data.skipped import BadRows
from thresher.errors import InputError

PARQUET_BATCH = 512


class Row(NamedTuple):
    """A row and its place: the file and the line (or the row, from 1) in it. `values` is None where it was skipped."""

    file: str
    number: int | None
    values: dict[str, Any] | None

    @property
    def where(self) -> str:
        return self.file if self.number is None else f"{self.file} row {self.number}"


def read_json_lines(files: Sequence[Path], columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    for file in files:
        for number, line in enumerate(_lines(file, bad), start=1):
            if line.strip():
                yield Row(str(file), number, _parse(line, file, number, columns, bad))


def _parse(line: str, file: Path, number: int, columns: Sequence[str], bad: BadRows) -> dict | None:
    where = {"file": str(file), "row": number}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return bad("not JSON", f"{file} line {number} is not JSON ({error}); repair that line, or remove it", **where)
    if not isinstance(row, dict):
        message = f"{file} line {number} is {type(row).__name__}, not an object with columns; repair it"
        return bad("not an object", message, **where)
    missing = [column for column in columns if column not in row]
    if missing:
        there = ", ".join(map(str, row))
        message = f"{file} line {number} has no column {missing[0]!r}; its columns are: {there}"
        return bad(f"no column {missing[0]}", message, **where)
    return row


def read_csv(files: Sequence[Path], columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    for file in files:
        reader = csv.DictReader(_lines(file, bad), delimiter="\t" if ".tsv" in file.suffixes else ",")
        _check_columns(file, list(reader.fieldnames or []), columns)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise InputError(f"{file} line {reader.line_num} is not CSV ({error}); repair it") from None
            if row is None:
                break
            if None in row or None in row.values():
                message = f"{file} line {reader.line_num} has not as many fields as the header; repair that line"
                row = bad("number of fields", message, file=str(file), row=reader.line_num)
            yield Row(str(file), reader.line_num, row)


def read_text_files(files: Sequence[Path], columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    """A row a file: its `text`, and `file`, its path from where all of them are."""
    common = Path(os.path.commonpath([file.parent for file in files]))
    for file in files:
        _check_columns(file, ["text", "file"], columns)
        with _open(file) as opened:
            text = _decode(opened.read(), file, 0, bad)
        yield Row(str(file), None, {"text": text, "file": file.relative_to(common).as_posix()})


def read_parquet(
    files: Sequence[Path], columns: Sequence[str], bad: BadRows, *, whole_rows: bool = False
) -> Iterator[Row]:
    """Only the named columns are read (all, if none is named or with `whole_rows`), a few hundred rows at a time."""
    for file in files:
        try:
            # Read ahead, what has been read would be held until the end: 0.56 MB a MB (pyarrow 26).
            opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
        except pa.ArrowInvalid:
            raise InputError(f"{file} is not a Parquet file, or is damaged; write it again") from None
        with opened:
            if opened.metadata.num_rows == 0:
                raise InputError(f"{file} is empty: it has no rows; leave it out, or give a file with rows")
            _check_columns(file, opened.schema_arrow.names, columns)
            labels, number = _class_names(opened.schema_arrow), 0
            wanted = None if whole_rows else list(dict.fromkeys(columns)) or None
            try:
                for batch in opened.iter_batches(PARQUET_BATCH, columns=wanted):
                    for row in _plain_rows(batch, file, number, bad):
                        number += 1
                        for name in labels.keys() & row.keys():
                            row[name] = None if row[name] is None else labels[name][row[name]]
                        yield Row(str(file), number, row)
            except (pa.ArrowInvalid, OSError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"{file} is damaged after row {number} ({reason}); write it again") from None


def _plain_rows(batch: pa.RecordBatch, file: Path, before: int, bad: BadRows) -> list[dict]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        columns = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            kind, values = column.type, column
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                raw = column.cast(pa.binary() if pa.types.is_string(kind) else pa.large_binary()).to_pylist()
                values = [_text_at(value, file, before + row, name, bad) for row, value in enumerate(raw, start=1)]
            columns[name] = values if isinstance(values, list) else values.to_pylist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _text_at(value: bytes | None, file: Path, row: int, column: str, bad: BadRows) -> str | None:
    try:
        return None if value is None else value.decode("utf-8", "strict" if bad.refuses else "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} row {row}: column {column!r} is not UTF-8 at byte {error.start}; write it again as UTF-8, "
            "or have bad_rows skip or replace it"
        ) from None


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Of the columns that `datasets` wrote as numbered classes, the names."""
    written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = written.get("info", {}).get("features", {})
    return {name: kind["names"] for name, kind in features.items() if kind.get("_type") == "ClassLabel"}


def _check_columns(file: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in there]
    if missing:
        raise InputError(f"{file} has no column {missing[0]!r}; its columns are: {', '.join(there)}")


def _lines(file: Path, bad: BadRows) -> Iterator[str]:
    """The lines of a text file with rows; refuses one without."""
    position = 0
    with _open(file) as opened:
        for line in opened:
            yield _decode(line, file, position, bad)
            position += len(line)
    if position == 0:
        raise InputError(f"{file} is empty; leave it out, or give a file with rows")


def _decode(raw: bytes, file: Path, position: int, bad: BadRows) -> str:
    """UTF-8; broken bytes are refused, or kept as lone surrogates for who reads the text to skip or replace."""
    try:
        return raw.decode("utf-8", "strict" if bad.refuses else "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not UTF-8 at byte {position + error.start}; convert it (iconv -t UTF-8), leave it out, "
            "or have bad_rows skip or replace it"
        ) from None


class _open:
    """A file as bytes, decompressed where its ending says so; a damaged one is named."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> IO[bytes]:
        self.opened = OPENERS.get(self.file.suffix, _open_plain)(self.file)
        return self.opened

    def __exit__(self, kind, error, _) -> None:
        self.opened.close()
        broken = isinstance(error, EOFError | lzma.LZMAError | zlib.error) or (
            isinstance(error, OSError) and self.file.suffix in OPENERS and not error.errno
        )
        if broken:
            raise InputError(f"{self.file} cannot be decompressed ({error}); write it again") from None


def _open_plain(file: Path) -> IO[bytes]:
    return open(file, "rb")


def _open_zstd(file: Path) -> IO[bytes]:
    return BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"), 2**16)  # type: ignore[arg-type]


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
