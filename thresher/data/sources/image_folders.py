"""Rows out of folders of images: undecoded, the class of each its folder, or columns of a metadata file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from thresher.data.sources.files import Found, reader_of
from thresher.data.sources.named_splits import names_split
from thresher.data.sources.readers import READ, common_folder
from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows
from thresher.data.sources.values import no_column, take
from thresher.errors import InputError

NAME = "file_name"


def read_image_folder(found: Found, columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    """A row an image: `image` ({"bytes", "path"}), `file` (its path from where all are) and `label`.

    `label` is the name of the nearest folder that is no split. Files metadata.csv (.jsonl, .parquet) give more columns
    by `file_name`, also labels; an image that none of them has, or one that is not there, is an InputError.
    """
    common, folders = common_folder(found.files), {file.parent for file in found.files}
    roots = {root.absolute() for root in found.folders} if len(folders) > 1 else set()
    described = _described(found.metadata)
    _check_all_there(found, described)
    if "label" in columns and not found.metadata:
        _check_names(folders, found)
    for file in found.files:
        values: dict[str, Any] = {"image": {"bytes": None, "path": str(file)}}
        if found.metadata:
            values |= described[file]
        if "label" in columns and "label" not in values:
            values["label"] = _class_of(file, found.in_splits, roots)
        values["file"] = file.relative_to(common).as_posix()
        missing = take(values, columns)
        if missing is not None:
            raise InputError(f"{file} {no_column(missing, values)}")
        yield Row(str(file), None, values)


def _class_of(file: Path, in_splits: bool, roots: set[Path]) -> str:
    """The name of the file's folder, or of one above if it is a split; `roots` hold folders of images."""
    folder = file.parent
    if in_splits and names_split(folder.name) and not names_split(folder.parent.name):  # in a split, dev is a class
        folder = folder.parent
    if file.parent in roots:
        raise InputError(f"{file} lies beside folders of images, so its class cannot be told; move it into one")
    return folder.name


def _check_names(folders: set[Path], found: Found) -> None:
    """Refuses classes that cannot be told: two folders of one name in different folders, `a/black` and `b/black`."""
    seen: dict[tuple[Path, str], Path] = {}
    for root in (root.absolute() for root in found.folders):
        for folder in sorted(folders):
            if not folder.is_relative_to(root) or folder == root:
                continue
            own = Path(
                *(part for part in folder.relative_to(root).parts if not (found.in_splits and names_split(part)))
            )
            other = seen.setdefault((root, own.name), own)
            if other != own:
                raise InputError(
                    f"the folders {other} and {own} in {root} have one name, so the class cannot be told; give the "
                    f"folders that hold the classes one by one ({root / own.parent} ...), or a metadata.csv"
                )


def _described(tables: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """The columns of each image that a metadata file names."""
    described: dict[Path, dict[str, Any]] = {}
    for table in tables:
        for row in READ[reader_of(table)]([table], [NAME], BadRows()):
            assert row.values is not None
            if not isinstance(row.values[NAME], str) or not row.values[NAME]:
                raise InputError(f"{row.where} has no {NAME}; give it one, or remove the row")
            file = Path(table.parent, row.values[NAME]).absolute()
            if file in described:
                raise InputError(f"{row.where} describes {row.values[NAME]} again; keep one row an image")
            described[file] = row.values
    return described


def _check_all_there(found: Found, described: dict[Path, dict[str, Any]]) -> None:
    if not found.metadata:
        return
    for file in found.files:
        if file not in described:
            raise InputError(f"{file} is in no metadata file beside it ({found.metadata[0]}); add it, or remove it")
    for file in described:
        if not file.is_file():
            raise InputError(f"{file} does not exist, but {found.metadata[0].name} names it; remove that row")
