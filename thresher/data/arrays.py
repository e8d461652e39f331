"""A `.npy` file written row by row, so that what is prepared need never be in memory at once."""

from pathlib import Path

import numpy as np


class ArrayWriter:
    """Appends rows to a `.npy` file; the header is written again, with the final count, when it is closed."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.dtype | type) -> None:
        self.dtype, self.row_shape, self.num_rows = np.dtype(dtype), row_shape, 0
        self._file = open(path, "wb")  # noqa: SIM115 (closed in __exit__)
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """`rows` [r, *row_shape]."""
        assert rows.shape[1:] == self.row_shape, (rows.shape, self.row_shape)
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.num_rows += len(rows)

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(self, *_) -> None:
        self._file.seek(0)
        self._write_header()  # of the same length: NumPy pads headers for the first axis to grow
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.num_rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
