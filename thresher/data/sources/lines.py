"""Bytes of a file into text: decoded as its byte order mark says, cut into lines.

A line ends with a line feed, a carriage return, or both; other characters that Unicode calls line ends (U+2028, form
feed) are text. Without a mark a file is UTF-8.
"""

import codecs
import io
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any

from thresher.data.sources.compressed import open_bytes
from thresher.data.sources.skipped import BadRows
from thresher.errors import InputError

# The marks of UTF-32 begin with those of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MARK = "\ufeff"
LONGEST_LINE = 2**27
"""Bytes. A line is held in memory a few times over; one of 128 MiB is no document, but a file that unfolds."""
LONGEST_TEXT = 2**31
"""Bytes of a file that is read whole, once it is decompressed."""


def text_lines(file: Path, bad: BadRows, *, rows: bool = True) -> Iterator[str]:
    """The lines of a file, each with its end; InputError for a file without any, or that is not in its encoding.

    Where bad rows are not refused, bytes that are not UTF-8 are kept as lone surrogates. `rows` says that lines are
    rows, and none may be longer than one can be; else one may be as long as a file that is read whole.
    """
    with open_bytes(file) as opened:
        mark, encoding = _mark_of(opened.peek(4)[:4], file, bad)  # type: ignore[attr-defined]
        position = len(opened.read(mark))
        if encoding == "utf-8":
            lines = _utf8_lines(opened, file, position, bad, rows)
        else:
            lines = _wide(opened, file, encoding, bad, rows)
        empty = True
        for line in lines:
            empty = False
            yield line
    if empty:
        raise InputError(f"{file} is empty; leave it out, or give a file with rows")


def whole_text(file: Path, bad: BadRows) -> str:
    """All of a file's text, without its mark; empty where it is."""
    with open_bytes(file) as opened:
        raw = opened.read(LONGEST_TEXT + 1)
    if len(raw) > LONGEST_TEXT:
        raise _too_long(file)
    mark, encoding = _mark_of(raw[:4], file, bad)
    if encoding == "utf-8":
        return _decode(raw[mark:], file, mark, bad)
    return "".join(_wide(BufferedReader(io.BytesIO(raw[mark:])), file, encoding, bad, rows=False))  # type: ignore[arg-type]


def _mark_of(start: bytes, file: Path, bad: BadRows) -> tuple[int, str]:
    """How many bytes the mark has, and the encoding. Where bad rows are not refused, a NUL byte is left to the rows."""
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return len(mark), encoding
    if b"\0" in start and bad.refuses:
        raise InputError(
            f"{file} has a NUL byte at its start: UTF-16 without a byte order mark, or no text; convert it to UTF-8"
        )
    return 0, "utf-8"


def _utf8_lines(opened: BufferedIOBase, file: Path, position: int, bad: BadRows, rows: bool) -> Iterator[str]:
    while raw := _line(opened, file, rows):
        # bytes.splitlines knows the three line ends alone, str.splitlines many more.
        for line in raw.splitlines(keepends=True) if b"\r" in raw[:-2] else (raw,):
            yield _decode(line, file, position, bad)
            position += len(line)


def _wide(opened: BufferedIOBase, file: Path, encoding: str, bad: BadRows, rows: bool) -> Iterator[str]:
    errors = "strict" if bad.refuses else "surrogatepass"
    reader = io.TextIOWrapper(opened, encoding, errors, newline="")  # type: ignore[arg-type]
    try:
        while line := _line(reader, file, rows):
            yield line
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not {encoding.upper()}, as its mark says ({error.reason}); convert it") from None
    finally:
        if not opened.closed:  # as it is where a reader of lines is dropped before their end
            reader.detach()


def _line(opened: Any, file: Path, rows: bool) -> Any:
    """The next line; nothing at the end. InputError for one that is too long for a row, or to be held at all."""
    longest = LONGEST_LINE if rows else LONGEST_TEXT
    line = opened.readline(longest + 1)
    if len(line) <= longest:
        return line
    if not rows:
        raise _too_long(file)
    raise InputError(f"{file} has a line of more than {LONGEST_LINE >> 20} MiB; cut it, a line is a row")


def _too_long(file: Path) -> InputError:
    return InputError(f"{file} holds more than {LONGEST_TEXT >> 30} GiB of text; cut it into files, or into JSON lines")


def _decode(raw: bytes, file: Path, position: int, bad: BadRows) -> str:
    """UTF-8; broken bytes are refused, or kept as lone surrogates for who reads the text to skip or replace."""
    try:
        return raw.decode("utf-8", "strict" if bad.refuses else "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not UTF-8 at byte {position + error.start}; convert it (iconv -t UTF-8), leave it out, "
            "or have bad_rows skip or replace it"
        ) from None
