"""Rows out of files, plainly: one reader a format, each gives rows one at a time and with their place.

All but Parquet and Arrow give whole rows anyway; those give the named columns unless `whole_rows` asks for all.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from thresher.data.sources.arrow_rows import read_arrow, read_parquet
from thresher.data.sources.csv_rows import read_csv
from thresher.data.sources.json_rows import read_json
from thresher.data.sources.lines import whole_text
from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows
from thresher.data.sources.training_formats import read_mds_rows, read_megatron_rows
from thresher.data.sources.values import no_column
from thresher.errors import InputError


def read_text_files(
    files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False
) -> Iterator[Row]:
    """A row a file: its `text`, and `file`, its path from where all of them are."""
    common = common_folder(files)
    for file in files:
        for column in columns:
            if column not in ("text", "file"):
                raise InputError(f"{file} {no_column(column, ('text', 'file'))}")
        text = whole_text(file, bad)
        values: dict | None = {"text": text, "file": file.relative_to(common).as_posix()}
        if "\0" in text:
            message = f"{file} holds a NUL byte at character {text.index(chr(0))}: it is no text; leave it out"
            values = bad("NUL byte", message, file=str(file))
        yield Row(str(file), None, values)


def common_folder(files: Sequence[Path]) -> Path:
    """The folder that all of `files` are in."""
    return Path(os.path.commonpath([file.parent for file in files]))


READ: dict[str, Callable[..., Iterator[Row]]] = {
    "text": read_text_files,
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "mds": read_mds_rows,
    "megatron": read_megatron_rows,
}
