"""Any source in, rows out: hub names, Parquet, JSONL, CSV, text files and image folders.

Rows are streamed: nothing is copied into a cache and memory does not grow with the source. What is written as text
stays text: an id such as 007 or a word such as NA is not taken for a number or a gap.
"""

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thresher.artifacts import hash_file, hash_json
from thresher.data.readers import OPENERS, Row, read_csv, read_json_lines, read_parquet, read_text_files
from thresher.data.seen import Seen
from thresher.data.skipped import BadRows, Skipped
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
PLAIN: dict[str, Callable[..., Iterator[Row]]] = {
    "text": read_text_files,
    "jsonl": read_json_lines,
    "csv": read_csv,
    "parquet": read_parquet,
}


@dataclass(frozen=True)
class Source:
    """Where rows come from: files or globs (a text file is one row), folders, or the name of a data set on the hub."""

    data: tuple[str, ...]
    split: str = "train"
    """Of a hub data set."""
    subset: str | None = None
    """The configuration of a hub data set that has several."""
    bad_rows: str = "refuse"
    """What is done with rows that cannot be used; see `thresher.data.skipped.BadRows`."""

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
            return hash_json([self.data, self.split, self.subset, self._revision])
        return hash_json([hash_file(file) for file in files])

    @cached_property
    def _revision(self) -> str:
        return _hub_revision(self.data[0])

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The values of `read`, where every row can be used."""
        for row in self.read(columns):
            if row.values is not None:
                yield row.values

    def read(
        self, columns: Sequence[str], skipped: Skipped | None = None, *, whole_rows: bool = False
    ) -> Iterator[Row]:
        """Rows in order, each with at least `columns` (`whole_rows`: with all there are); rows that are files have the
        column `file`, text files `text`.

        Labels are given by name, images undecoded ({"bytes", "path"}). A row that cannot be read is handled as
        `bad_rows` says: InputError, naming the file and where in it, or counted in `skipped` and given without values.
        A file that cannot be read, or has not the columns at all, is always an InputError.
        """
        reader, files = self._resolved
        bad = BadRows(self.bad_rows, skipped or Skipped())
        if reader in PLAIN:
            options = {"whole_rows": whole_rows} if reader == "parquet" else {}
            yield from PLAIN[reader](files, columns, bad, **options)
            return
        try:
            for number, row in enumerate(self._stream(reader, files, [] if whole_rows else columns), start=1):
                missing = [column for column in columns if column not in row]
                if missing:
                    where = f"{self.name} row {number} has no column {missing[0]!r}"
                    raise InputError(f"{where}; its columns are: {', '.join(row)}")
                yield Row(self.name, number, row)
        except (InputError, OSError):
            raise
        except Exception as error:  # `datasets` wraps its readers' errors in many types
            raise _explain(error, self, reader) from error

    def _stream(self, reader: str, files: list[Path], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows as `datasets` reads them."""
        import datasets

        datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, by us
        if reader == "hub":
            dataset = datasets.load_dataset(
                self.data[0], self.subset, split=self.split, revision=self._revision, streaming=True
            )
        elif reader == "imagefolder" and len(self.data) == 1 and Path(self.data[0]).is_dir():
            # Labels are the folders' names, even of a single one, unless a metadata file gives columns of its own.
            named = any(Path(self.data[0]).rglob("metadata.*"))
            options: dict[str, Any] = {} if named else {"drop_labels": False}
            dataset = datasets.load_dataset(reader, data_dir=self.data[0], split=self.split, streaming=True, **options)
        else:
            named = {"train": [str(file) for file in files]}
            dataset = datasets.load_dataset(reader, data_files=named, split="train", streaming=True)
        if reader == "hub" and columns and set(columns) <= set(dataset.features or ()):
            dataset = dataset.select_columns(list(dict.fromkeys(columns)))  # the others are not fetched
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
    """Ids as text: refuses an empty one and one that occurs twice, or skips their rows."""

    def __init__(self, source: Source, bad: BadRows | None = None) -> None:
        self._name, self._bad, self._seen = source.name, bad or BadRows(), Seen()

    def __call__(self, id: Any, row: Row) -> str | None:
        """The id as text; None where its row is skipped."""
        if id is None or str(id) == "":
            message = f"{row.where} has no id; give every row one, or name no id column"
            return self._bad("no id", message, file=row.file, row=row.number)
        if not self._seen.add(str(id)):
            message = f"{self._name} has the id {str(id)!r} twice (again in {row.where}); ids must be unique"
            return self._bad("duplicate id", message, file=row.file, row=row.number, id=str(id))
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
    return (Path(file.stem) if file.suffix in OPENERS else file).suffix.lower()


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


def _explain(error: Exception, source: Source, reader: str) -> InputError:
    if reader == "hub":
        return _unreachable(source.name, error)
    first = str(error).strip().splitlines()
    reason = first[0] if first else type(error).__name__
    return InputError(f"{source.name} could not be read as {reader} ({reason}); check it")
