"""Files that must stay as they are while they are read: what is made of them says that it was made of their hash."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from thresher.data.sources.rows import Row
from thresher.data.sources.values import file_named
from thresher.errors import InputError


class Unchanged:
    """Files as they were when this was made."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._stamps = {str(file): _stamp(file) for file in files}
        self._by_rows = False

    def add(self, files: Iterable[Path]) -> None:
        """Files that rows name, as they are now."""
        for file in files:
            self._stamps.setdefault(str(file), _stamp(file))
            self._by_rows = True

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows; raises InputError in place of one of a file that has changed, and at the end for any that has."""
        try:
            for row in rows:
                for file in self._files_of(row):
                    if file in self._stamps:
                        self._check(file)
                yield row
        except (InputError, ValueError):  # a reader that fails in the middle of a change says something else
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Raise InputError if a file has changed."""
        for file in self._stamps:
            self._check(file)

    def _files_of(self, row: Row) -> list[str]:
        values = row.values.values() if self._by_rows and row.values is not None else ()
        named = (file_named(value, Path(row.file).parent) for value in values)
        return [row.file, *(str(file) for file in named if file is not None)]

    def _check(self, file: str) -> None:
        if _stamp(Path(file)) != self._stamps[file]:
            raise InputError(f"{file} changed while it was read; wait until it is written, then run the command again")


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes with the content: its size, its place on the disk, the time it was written."""
    try:
        about = file.stat()
    except (OSError, ValueError):  # no file, or no name of one
        return None
    return about.st_size, about.st_ino, about.st_mtime_ns
