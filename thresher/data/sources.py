"""Any source in, rows out: hub names, Parquet, JSONL, CSV, text files and image folders.

Rows are streamed: nothing is copied into a cache and memory does not grow with the source. What is written as text
stays text: an id such as 007 or a word such as NA is not taken for a number or a gap.
"""

import csv
import glob
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from thresher.artifacts import hash_file, hash_json
from thresher.errors import InputError

READERS = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".py": "text",
}
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
COMPRESSED = {".gz", ".zst", ".xz", ".bz2"}


@dataclass(frozen=True)
class Source:
    """Where rows come from: files or globs (a text file is one row), folders, or the name of a data set on the hub."""

    data: tuple[str, ...]
    split: str = "train"
    """Of a hub data set."""
    subset: str | None = None
    """The configuration of a hub data set that has several."""

    @property
    def name(self) -> str:
        return ", ".join(self.data)

    @cached_property
    def _resolved(self) -> tuple[str, list[Path]]:
        return _resolve(self.data)

    @property
    def natural_id(self) -> str | None:
        """The column that names a row where rows are files."""
        return "file" if self._resolved[0] in ("text", "imagefolder") else None

    def fingerprint(self) -> str:
        """A hash of the content: of every file, or the hub's revision."""
        reader, files = self._resolved
        if reader == "hub":
            return hash_json([self.data, self.split, self.subset, _hub_revision(self.data[0])])
        return hash_json([hash_file(file) for file in files])

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows in order, each with `columns`; rows that are files have the column `file`, text files `text`.

        Labels are given by name, images undecoded ({"bytes", "path"}). Raises InputError, naming the file and where in
        it, when something cannot be read.
        """
        reader, files = self._resolved
        try:
            plain = {"text": _text_rows, "jsonl": _json_lines, "csv": _csv_rows}
            rows = plain[reader](files) if reader in plain else self._stream(reader, files)
            yield from _check_columns(rows, columns, self.name)
        except (InputError, OSError):
            raise
        except Exception as error:  # `datasets` wraps its readers' errors in many types
            raise _explain(error, self, reader, files) from error

    def _stream(self, reader: str, files: list[Path]) -> Iterator[dict[str, Any]]:
        """Rows as `datasets` reads them."""
        import datasets

        datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, by us
        if reader == "hub":
            dataset = datasets.load_dataset(self.data[0], self.subset, split=self.split, streaming=True)
        elif reader == "imagefolder" and len(self.data) == 1 and Path(self.data[0]).is_dir():
            # Labels are the folders' names, even of a single one, unless a metadata file gives columns of its own.
            named = any(Path(self.data[0]).rglob("metadata.*"))
            options: dict[str, Any] = {} if named else {"drop_labels": False}
            dataset = datasets.load_dataset(reader, data_dir=self.data[0], split=self.split, streaming=True, **options)
        else:
            named = {"train": [str(file) for file in files]}
            dataset = datasets.load_dataset(reader, data_files=named, split="train", streaming=True)
        features = dict(dataset.features or {})
        for name, feature in features.items():
            if isinstance(feature, datasets.Image):
                dataset = dataset.cast_column(name, datasets.Image(decode=False))
        labels = {name: feature for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)}
        common = _common(files) if reader == "imagefolder" else None
        for row in dataset:
            row = dict(row)
            row |= {name: feature.int2str(row[name]) for name, feature in labels.items() if row[name] is not None}
            if common is not None:
                row["file"] = os.path.relpath(row["image"]["path"], common)
            yield row


class IdCheck:
    """Ids as text: refuses an empty one and one that occurs twice."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.seen: set[str] = set()

    def __call__(self, id: Any, number: int) -> str:
        if id is None or str(id) == "":
            raise InputError(f"{self.source.name} row {number} has no id; give every row one, or name no id column")
        if str(id) in self.seen:
            raise InputError(
                f"{self.source.name} has the id {str(id)!r} twice (again in row {number}); ids must be unique"
            )
        self.seen.add(str(id))
        return str(id)


def _resolve(data: Sequence[str]) -> tuple[str, list[Path]]:
    """The reader and the files that `data` stands for."""
    if not data:
        raise InputError("no data was given; give a file, a glob, a folder or the name of a data set on the hub")
    files: list[Path] = []
    for entry in data:
        path = Path(entry).expanduser()
        if path.is_dir():
            files += _files_in(path)
            continue
        found = [path] if path.is_file() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            if len(data) == 1 and _could_be_hub_name(entry):
                return "hub", []
            raise InputError(f"{entry} does not exist; check the path (a hub data set is written OWNER/NAME)")
        files += [file for file in found if file.is_file()]
    return _reader_of(files), [file.absolute() for file in files]


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder that can be read: its images if it has any, else its data and text."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    images = [file for file in files if file.suffix.lower() in IMAGES]
    readable = images or [file for file in files if _suffix(file) in READERS]
    if not readable:
        raise InputError(f"{folder} holds no file that can be read; known endings: {', '.join(READERS)} and images")
    return readable


def _reader_of(files: list[Path]) -> str:
    readers = {READERS.get(_suffix(file), "imagefolder" if _suffix(file) in IMAGES else "") for file in files}
    if "" in readers:
        odd = next(file for file in files if _suffix(file) not in {*READERS, *IMAGES})
        raise InputError(f"{odd} has an ending that cannot be read; known endings: {', '.join(READERS)} and images")
    if len(readers) > 1:
        raise InputError(f"{files[0]} and the others are of several formats ({', '.join(sorted(readers))}); give one")
    return readers.pop()


def _suffix(file: Path) -> str:
    return (Path(file.stem) if file.suffix in COMPRESSED else file).suffix.lower()


def _could_be_hub_name(entry: str) -> bool:
    parts = entry.split("/")
    ending = _suffix(Path(entry))
    return len(parts) <= 2 and all(parts) and ending not in {*READERS, *IMAGES} and "*" not in entry


def _hub_revision(name: str) -> str:
    from huggingface_hub import dataset_info

    try:
        return str(dataset_info(name).sha)
    except Exception as error:
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is no file here and could not be read as a hub data set ({type(error).__name__}); "
        "check the path, the name and the network"
    )


def _common(files: list[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _read(file: Path) -> Iterator[bytes]:
    """The lines of a file, decompressed where its ending says so."""
    try:
        with fsspec.open(str(file), "rb", compression="infer") as lines:
            yield from lines
    except (EOFError, OSError) as error:
        if file.suffix not in COMPRESSED or getattr(error, "errno", None):
            raise
        raise InputError(f"{file} cannot be decompressed ({error}); write it again") from None


def _decode(line: bytes, file: Path, position: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        where = position + error.start
        raise InputError(
            f"{file} is not UTF-8 at byte {where}; convert it to UTF-8 (iconv -t UTF-8), or leave it out"
        ) from None


def _text_rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    common = _common(files)
    for file in files:
        yield {"text": _decode(b"".join(_read(file)), file, 0), "file": file.relative_to(common).as_posix()}


def _lines(file: Path) -> Iterator[str]:
    """The lines of a text file with rows; refuses one without."""
    position = 0
    for line in _read(file):
        yield _decode(line, file, position)
        position += len(line)
    if position == 0:
        raise InputError(f"{file} is empty; leave it out, or give a file with rows")


def _json_lines(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(
                    f"{file} line {number} is not JSON ({error}); repair that line, or remove it"
                ) from None
            if not isinstance(row, dict):
                raise InputError(f"{file} line {number} is {type(row).__name__}, not an object with columns; repair it")
            yield row


def _csv_rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    for file in files:
        reader = csv.DictReader(_lines(file), delimiter="\t" if _suffix(file) == ".tsv" else ",")
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{file} line {reader.line_num} has not as many fields as the header; repair that line"
                )
            yield row


def _check_columns(rows: Iterable[dict], columns: Sequence[str], name: str) -> Iterator[dict]:
    for number, row in enumerate(rows):
        missing = [column for column in columns if column not in row]
        if missing:
            where = f"{name} has no column {missing[0]!r}" + (f" in row {number}" if number else "")
            raise InputError(f"{where}; its columns are: {', '.join(row)}")
        yield row


def _explain(error: Exception, source: Source, reader: str, files: list[Path]) -> InputError:
    """What is wrong with which file, in one line, found by reading the files plainly after a reader failed."""
    if reader == "hub":
        return _unreachable(source.name, error)
    for file in files:
        if reader == "parquet":
            import pyarrow.parquet as pq

            try:
                if pq.read_metadata(file).num_rows == 0:
                    return InputError(f"{file} is empty: it has no rows; leave it out, or give a file with rows")
            except Exception:
                return InputError(f"{file} is not a Parquet file, or is damaged; write it again")
    first = str(error).strip().splitlines()
    reason = first[0] if first else type(error).__name__
    return InputError(f"{source.name} could not be read as {reader} ({reason}); check it")
