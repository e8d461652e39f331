"""Any source in, rows out: hub names, Parquet, Arrow, JSON, CSV, text files and image folders.

Rows are streamed: nothing is copied into a cache. What is written as text stays text: an id such as 007, a word such as
NA or a date is not taken for a number, a gap or a time.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thresher.artifacts import hash_file
from thresher.canonical import hash_json
from thresher.data.sources.files import FILES_ARE_ROWS, Found, find_files
from thresher.data.sources.image_folders import read_image_folder
from thresher.data.sources.lm_eval_tasks import is_task, task_rows
from thresher.data.sources.named_splits import ALL
from thresher.data.sources.readers import READ, common_folder
from thresher.data.sources.rows import Row
from thresher.data.sources.seen import Seen
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.sources.unchanged import Unchanged
from thresher.data.sources.values import ClassName, file_named, no_column, take
from thresher.errors import InputError


@dataclass(frozen=True)
class Source:
    """Where rows come from: files or globs (a text file is one row), folders, the name of a data set on the hub, or
    `lm_eval:` and a task of lm-evaluation-harness.
    """

    data: tuple[str, ...]
    split: str | None = None
    """None: train, and of files that were named one by one all; `all`: every split. See `named_splits`."""
    subset: str | None = None
    """The configuration of a hub data set that has several; of a folder, the folder in it."""
    bad_rows: str = "refuse"
    """What is done with rows that cannot be used; see `thresher.data.sources.skipped.BadRows`."""

    @property
    def name(self) -> str:
        """What the source is called in messages: what was given."""
        return ", ".join(self.data)

    @property
    def config(self) -> dict[str, Any]:
        """How the files are read, as an artefact's request has it; what they hold is the `fingerprint`."""
        return {"bad_rows": self.bad_rows}

    @cached_property
    def task(self) -> list[dict[str, Any]] | None:
        """The rows of a task of lm-evaluation-harness (`lm_eval_tasks`); None where the source is none."""
        if not is_task(self.data):
            return None
        if self.subset is not None:
            raise InputError(f"{self.name} has no configuration {self.subset!r}; name the task of it")
        return task_rows(self.data[0], self.split)

    @cached_property
    def _found(self) -> Found | None:
        return None if self.task is not None else find_files(self.data, self.split, self.subset)

    @property
    def natural_id(self) -> str | None:
        """The column that names a row where rows are files."""
        return "file" if self._found is not None and self._found.reader in FILES_ARE_ROWS else None

    def named_by(self, columns: str | Sequence[str] | None) -> tuple[str, ...]:
        """The columns that make the ids of rows: those given, else the path where rows are files; none: numbers do."""
        given = (columns,) if isinstance(columns, str) else tuple(columns or ())
        return given or (() if self.natural_id is None else (self.natural_id,))

    def fingerprint(self, pictures: str | None = None) -> str:
        """A hash of the content: of every file (where a row is a file, of its name too), or of the hub's revision.

        `pictures` is a column of images: files that it names by path are content too, and must stay as they are now.
        """
        found = self._found
        if self.task is not None:
            return hash_json(self.task)
        if found is None:
            return hash_json([self.data, self.split or "train", self.subset, self._revision])
        self._unchanged.check()  # files are stamped before they are hashed
        named = [] if pictures is None else self._named_in(pictures)
        hashes = [hash_file(file) for file in [*found.files, *found.metadata]]
        hashes += [hash_file(file) if os.path.isfile(file) else None for file in named]  # refused when it is read
        self._unchanged.check()
        if self.natural_id is None:
            return hash_json(hashes)
        # The folder above is part of it: it may name a class.
        common = common_folder(found.files)
        return hash_json([hashes, common.name, [file.relative_to(common).as_posix() for file in found.files]])

    def _named_in(self, column: str) -> list[Path]:
        """The files that the images of a table name, each once; from now on they are watched."""
        if self.natural_id is not None:  # they are the source's own
            return []
        named: dict[Path, None] = {}
        for row in self.read([column]):
            file = None if row.values is None else file_named(row.values[column], Path(row.file).parent)
            if file is not None:
                named[file] = None
        self._unchanged.add(named)
        return list(named)

    @cached_property
    def _unchanged(self) -> Unchanged:
        found = self._found
        return Unchanged([*found.files, *found.metadata] if found else [])

    @cached_property
    def _revision(self) -> str:
        return _hub_revision(self.data[0])

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The values of the rows that can be used, each with at least `columns`, as `read` gives them."""
        for row in self.read(columns):
            if row.values is not None:
                yield row.values

    def read(
        self, columns: Sequence[str], skipped: Skipped | None = None, *, whole_rows: bool = False
    ) -> Iterator[Row]:
        """Rows in order, each with at least `columns`, or with all that there are (`whole_rows`).

        Rows that are files have the column `file`, those of text files `text`.
        A column `meta.source` is the field `source` of the objects in `meta`. Labels are given by name, images
        undecoded ({"bytes", "path"}). A row that cannot be read is handled as `bad_rows` says: InputError, naming the
        file and where in it, or counted in `skipped` and given without values. A file that cannot be read, or has not
        the columns at all, is always an InputError, and so is one that changes before all rows are read. Files of a
        folder that are not read are listed in `skipped` too.
        """
        found, skipped = self._found, skipped or Skipped()
        bad = BadRows(self.bad_rows, skipped)
        if found is None:
            yield from self._from_elsewhere(columns, whole_rows)
            return
        for file, reason in found.left_out:
            skipped.add(f"file {reason}", file=str(file))
        if found.reader == "imagefolder":
            rows = read_image_folder(found, columns, bad)
        else:
            rows = READ[found.reader](found.files, columns, bad, whole_rows)
        yield from self._unchanged.watch(rows)

    def _from_elsewhere(self, columns: Sequence[str], whole_rows: bool) -> Iterator[Row]:
        try:
            # A row is changed below, and those of a task are kept.
            stream = self._stream([] if whole_rows else columns) if self.task is None else map(dict, self.task)
            for number, row in enumerate(stream, start=1):
                missing = take(row, columns)
                if missing is not None:
                    raise InputError(f"{self.name} row {number} {no_column(missing, row)}")
                yield Row(self.name, number, row)
        except (InputError, OSError):
            raise
        except Exception as error:  # `datasets` wraps its readers' errors in many types
            raise _unreachable(self.name, error) from error

    def _stream(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows as `datasets` reads them."""
        import datasets  # slow to load, and only for data of the hub

        datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, by us
        splits = [self.split or "train"]
        if self.split == ALL:
            splits = datasets.get_dataset_split_names(self.data[0], self.subset, revision=self._revision)
        for split in splits:
            dataset: Any = datasets.load_dataset(
                self.data[0], self.subset, split=split, revision=self._revision, streaming=True
            )
            there = set(dataset.features or ())
            roots = [name if name in there else name.partition(".")[0] for name in columns]
            if columns and set(roots) <= there:
                dataset = dataset.select_columns(list(dict.fromkeys(roots)))  # the others are not fetched
            features = dict(dataset.features or {})
            for name, feature in features.items():
                if isinstance(feature, datasets.Image):
                    dataset = dataset.cast_column(name, datasets.Image(decode=False))
            labels = {name: feature for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)}
            for row in dataset:
                row = dict(row)
                for name, feature in labels.items():
                    row[name] = ClassName.of(row[name], feature.names)
                yield row


class IdCheck:
    """Ids as text: refuses an empty one and one that occurs twice, or skips their rows."""

    def __init__(self, source: Source, bad: BadRows | None = None) -> None:
        self._name, self._bad, self._seen = source.name, bad or BadRows(), Seen()

    def __call__(self, id: str, row: Row) -> str | None:
        """The id; None where its row is skipped."""
        if not id.strip():
            message = f"{row.where} has no id; give every row one, or name no id column"
            return self._bad("no id", message, file=row.file, row=row.number)
        if not self._seen.add(id):
            message = f"{self._name} has the id {id!r} twice (again in {row.where}); ids must be unique"
            return self._bad("duplicate id", message, file=row.file, row=row.number, id=id)
        return id


def _hub_revision(name: str) -> str:
    from huggingface_hub import dataset_info  # slow to load, and only for data of the hub

    try:
        return str(dataset_info(name).sha)
    except Exception as error:
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} is no file here and could not be read as a hub data set ({type(error).__name__}); "
        "check the path, the name and the network"
    )
