"""A row and its place in the files it came from."""

from typing import Any, NamedTuple


class Row(NamedTuple):
    """A row and its place: the file and the line (or the row, from 1) in it. `values` is None where it was skipped."""

    file: str
    number: int | None
    values: dict[str, Any] | None

    @property
    def where(self) -> str:
        """The row's place, as messages name it."""
        return self.file if self.number is None else f"{self.file} row {self.number}"
