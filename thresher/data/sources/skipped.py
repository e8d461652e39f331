"""What was left out while data was read: counted by reason and listed, so that nothing is lost silently."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.choices import POLICIES
from thresher.errors import InputError

SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("id", pa.string()), ("reason", pa.string())])
BUFFERED = 4096


class Skipped:
    """Rows that were left out or changed: `counts` by reason, and each in a Parquet file if a path is given.

    Columns: file, row (the line, or the row from 1, in that file; null where it is the whole file or unknown), id (of
    the document, where it had one) and reason. Any thread may add; the file is whole once the block ends.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._rows: list[tuple] = []
        self._lock = threading.Lock()
        self._writer = None if path is None else pq.ParquetWriter(path, SCHEMA)

    def add(self, reason: str, *, file: str = "", row: int | None = None, id: str = "") -> None:
        """Count a row by its reason, and list it."""
        with self._lock:
            self.counts[reason] += 1
            if self._writer is not None:
                self._rows.append((file, row, id, reason))
                if len(self._rows) >= BUFFERED:
                    self._flush()

    def __enter__(self) -> "Skipped":
        return self

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._flush()
            self._writer.close()

    def _flush(self) -> None:
        assert self._writer is not None
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(SCHEMA)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=SCHEMA))
        self._rows = []


@dataclass(frozen=True)
class BadRows:
    """What is done with a row that cannot be used.

    `refuse` ends the work and names the row, `skip` leaves it out and lists it, `replace` does the same but keeps text
    that is not UTF-8, every broken byte as U+FFFD, and lists it.
    """

    policy: str = "refuse"
    skipped: Skipped = field(default_factory=Skipped)

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(
                f"bad rows can be handled by {', '.join(POLICIES)}, not {self.policy!r}; write one of them"
            )

    @property
    def refuses(self) -> bool:
        """Whether such a row ends the work."""
        return self.policy == "refuse"

    def __call__(self, reason: str, message: str, *, file: str, row: int | None = None, id: str = "") -> None:
        """Raise `message`, which names the file, the place and what to do, under `refuse`; else list the row."""
        if self.refuses:
            raise InputError(f"{message} (bad_rows = skip leaves such rows out)")
        self.skipped.add(reason, file=file, row=row, id=id)
