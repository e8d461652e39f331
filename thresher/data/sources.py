"""Any source in, rows out: hub names, Parquet, JSONL, CSV, text files and image folders, read through `datasets`.

Rows are streamed: nothing is copied into a cache and memory does not grow with the source.
"""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.artifacts import hash_file, hash_json
from thresher.errors import InputError

READERS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
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
    """Where rows come from: files or globs (a text file is one row), a folder, or the name of a data set on the hub."""

    data: tuple[str, ...]
    split: str = "train"
    subset: str | None = None
    """The configuration of a hub data set that has several."""

    @property
    def name(self) -> str:
        return ", ".join(self.data)

    def fingerprint(self) -> str:
        """A hash of the content: of every file, or the hub's revision."""
        reader, files = _resolve(self.data)
        if reader == "hub":
            return hash_json([self.data, self.split, self.subset, _hub_revision(self.data[0])])
        return hash_json([hash_file(file) for file in files])

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows in order, each with `columns`; text files give the columns `text` and `file`.

        Raises InputError, naming the file and where in it, when something cannot be read.
        """
        reader, files = _resolve(self.data)
        if reader == "text":
            yield from _check_columns(_text_rows(files), columns, self.name)
            return
        try:
            yield from _check_columns(iter(self._stream(reader, files)), columns, self.name)
        except InputError:
            raise
        except Exception as error:  # `datasets` wraps its readers' errors in many types
            raise _explain(error, self, reader, files) from error

    def _stream(self, reader: str, files: list[Path]):
        import datasets

        if reader == "hub":
            return datasets.load_dataset(self.data[0], self.subset, split=self.split, streaming=True)
        if reader == "imagefolder":
            rows = datasets.load_dataset("imagefolder", data_dir=self.data[0], split=self.split, streaming=True)
        else:
            extra: dict[str, Any] = {"delimiter": "\t"} if _suffix(files[0]) == ".tsv" else {}
            named = {"train": [str(file) for file in files]}
            rows = datasets.load_dataset(reader, data_files=named, split="train", streaming=True, **extra)
        return rows


def _resolve(data: Sequence[str]) -> tuple[str, list[Path]]:
    """The reader and the files that `data` stands for."""
    if not data:
        raise InputError("no data was given; give a file, a glob, a folder or the name of a data set on the hub")
    files: list[Path] = []
    for entry in data:
        path = Path(entry).expanduser()
        if path.is_dir():
            return _resolve_folder(path)
        found = [path] if path.is_file() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not found:
            if len(data) == 1 and _could_be_hub_name(entry):
                return "hub", []
            raise InputError(f"{entry} does not exist; check the path (a hub data set is written OWNER/NAME)")
        files += found
    return _reader_of(files), files


def _resolve_folder(path: Path) -> tuple[str, list[Path]]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if any(file.suffix.lower() in IMAGES for file in files):
        return "imagefolder", files
    files = [file for file in files if _suffix(file) in READERS]
    if not files:
        raise InputError(f"{path} holds no file that can be read; known endings: {', '.join(READERS)} and images")
    return _reader_of(files), files


def _reader_of(files: list[Path]) -> str:
    odd = next((file for file in files if _suffix(file) not in READERS), None)
    if odd is not None:
        raise InputError(f"{odd} has an ending that cannot be read; known endings: {', '.join(READERS)}")
    readers = {READERS[_suffix(file)] for file in files}
    if len(readers) > 1:
        raise InputError(f"{files[0]} and the others are of several formats ({', '.join(sorted(readers))}); give one")
    return readers.pop()


def _suffix(file: Path) -> str:
    return (Path(file.stem) if file.suffix in COMPRESSED else file).suffix.lower()


def _could_be_hub_name(entry: str) -> bool:
    parts = entry.split("/")
    return len(parts) <= 2 and all(parts) and _suffix(Path(entry)) not in READERS and "*" not in entry


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


def _text_rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    common = Path(os.path.commonpath([file.parent for file in files]))
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error.start) from None
        yield {"text": text, "file": file.relative_to(common).as_posix()}


def _check_columns(rows: Iterator[dict], columns: Sequence[str], name: str) -> Iterator[dict]:
    for number, row in enumerate(rows):
        missing = [column for column in columns if column not in row]
        if missing:
            where = f"{name} has no column {missing[0]!r}" + (f" in row {number}" if number else "")
            raise InputError(f"{where}; its columns are: {', '.join(row)}")
        yield row


def _not_utf8(file: Path, position: int) -> InputError:
    return InputError(f"{file} is not UTF-8 at byte {position}; convert it to UTF-8 (iconv -t UTF-8), or leave it out")


def _explain(error: Exception, source: Source, reader: str, files: list[Path]) -> InputError:
    """What is wrong with which file, in one line, found by reading the files plainly after a reader failed."""
    if reader == "hub":
        return _unreachable(source.name, error)
    if reader == "imagefolder":
        return InputError(f"an image in {source.name} cannot be decoded ({error}); repair it or remove it")
    for file in files:
        if file.stat().st_size == 0:
            return InputError(f"{file} is empty; leave it out, or give a file with rows")
        if reader in ("json", "csv") and file.suffix not in COMPRESSED:
            with open(file, "rb") as lines:
                position = 0
                for number, line in enumerate(lines, start=1):
                    try:
                        text = line.decode("utf-8")
                        if reader == "json" and _suffix(file) != ".json" and text.strip():
                            json.loads(text)
                    except UnicodeDecodeError as bad:
                        return _not_utf8(file, position + bad.start)
                    except ValueError as bad:
                        return InputError(f"{file} line {number} is not JSON ({bad}); repair that line, or remove it")
                    position += len(line)
        if reader == "parquet":
            import pyarrow.parquet as pq

            try:
                pq.read_schema(file)
            except Exception:
                return InputError(f"{file} is not a Parquet file, or is damaged; write it again")
    first = str(error).strip().splitlines()
    return InputError(
        f"{source.name} could not be read as {reader}: {first[0] if first else type(error).__name__}; check it"
    )
