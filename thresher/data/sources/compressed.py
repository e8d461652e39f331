"""Files as bytes, decompressed where their ending says so; one that is damaged anywhere is refused by name.

A compressed file may be several streams one behind the other, as `cat a.xz b.xz` makes them.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any

import pyarrow as pa

from thresher.errors import InputError

BLOCK = 2**16
"""Bytes that are read and decompressed at once."""


class open_bytes:
    """A file as bytes, decompressed where its ending says so; a damaged one is named."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> BufferedIOBase:
        self.opened = OPENERS.get(self.file.suffix.lower(), _open_plain)(self.file)
        return self.opened

    def __exit__(self, kind, error, _) -> None:
        self.opened.close()
        broken = isinstance(error, EOFError | lzma.LZMAError | zlib.error) or (
            isinstance(error, OSError) and self.file.suffix.lower() in OPENERS and not error.errno
        )
        if broken:
            raise InputError(f"{self.file} cannot be decompressed ({error}); write it again") from None


class _Streams(io.RawIOBase):
    """What the streams of a file hold, whatever follows the first: another stream, or zero bytes that fill it up.

    `bz2.open` and `lzma.open` pass over all that follows where it does not begin as a stream. Here that is an error,
    and so is a stream that does not end.
    """

    def __init__(self, file: Path, new: Callable[[], Any]) -> None:
        self._file, self._new = _open_plain(file), new
        self._stream, self._rest = new(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        made = b""
        while not made and (not self._stream.eof or self._begin()):
            raw = b""
            if self._stream.needs_input:
                raw, self._rest = self._rest or self._file.read(BLOCK), b""
                if not raw:
                    raise EOFError("it ends in the middle of a stream")
            made = self._stream.decompress(raw, len(buffer))
            if self._stream.eof:
                self._rest = self._stream.unused_data
        buffer[: len(made)] = made
        return len(made)

    def _begin(self) -> bool:
        """Begin the next stream; False where nothing follows but zeros."""
        rest = self._rest or self._file.read(BLOCK)
        while rest and not rest.strip(b"\0"):
            rest = self._file.read(BLOCK)
        self._rest = rest.lstrip(b"\0")
        self._stream = self._new() if rest else self._stream
        return bool(rest)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_plain(file: Path) -> BufferedIOBase:
    return open(file, "rb")


def _open_bz2(file: Path) -> BufferedIOBase:
    return BufferedReader(_Streams(file, bz2.BZ2Decompressor), BLOCK)


def _open_xz(file: Path) -> BufferedIOBase:
    return BufferedReader(_Streams(file, lzma.LZMADecompressor), BLOCK)


def _open_zstd(file: Path) -> BufferedIOBase:
    return BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"), BLOCK)  # type: ignore[arg-type]


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": _open_bz2,
    ".xz": _open_xz,
    ".zst": _open_zstd,
}
