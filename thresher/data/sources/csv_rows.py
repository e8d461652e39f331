"""Rows of CSV files, strictly: what a lenient reader would swallow or glue together is refused, the line named."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from thresher.data.sources.lines import LONGEST_LINE, MARK, text_lines
from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows
from thresher.data.sources.values import no_column
from thresher.errors import InputError

DELIMITERS = (",", "\t", ";", "|")
STATED = re.compile(r"sep=(.)[\r\n]*")


class _Lines:
    """The physical lines of a file: those of the record being read are kept, to say where it goes wrong."""

    def __init__(self, file: Path, bad: BadRows) -> None:
        self._lines = text_lines(file, bad)
        self.number, self.record = 0, []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if not self.record and line.startswith(MARK):  # files that were joined, each with its mark
            line = line[1:]
        self.record.append(line)
        return line


def read_csv(files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False) -> Iterator[Row]:
    """A row a record; all values are text. Quotes are doubled inside quotes and hold line ends and delimiters."""
    csv.field_size_limit(LONGEST_LINE)
    for file in files:
        lines = _Lines(file, bad)
        header, delimiter = _header(lines, file, columns)
        reader, empty = csv.reader(lines, delimiter=delimiter, strict=True), True
        while True:
            lines.record, start = [], lines.number + 1
            fields = _next(reader, lines, file, start)
            if fields is None:
                break
            if fields:  # a blank line is no row
                empty = False
                yield Row(str(file), start, _values(fields, header, file, start, bad))
        if empty:
            raise InputError(
                f"{file} is empty: it has no rows below its header; leave it out, or give a file with rows"
            )


def _header(lines: _Lines, file: Path, columns: Sequence[str]) -> tuple[list[str], str]:
    """The columns' names, and the delimiter: the usual one, else one that gives the columns that are asked for."""
    first = _not_blank(lines)
    stated = STATED.fullmatch(first)  # what Excel writes and reads
    if stated:
        lines.record, first = [], _not_blank(lines)
    start = lines.number
    if "\0" in first:
        raise InputError(
            f"{file} line {start}, its header, holds a NUL byte: UTF-16 without a byte order mark, or no text; "
            "convert it to UTF-8"
        )
    usual = stated[1] if stated else "\t" if ".tsv" in [suffix.lower() for suffix in file.suffixes] else ","
    found: dict[str, list[str]] = {}
    for delimiter in (usual,) if stated else dict.fromkeys((usual, *DELIMITERS)):
        again = iter([first])
        try:
            # Of a header over several lines, only the usual delimiter is tried.
            source = _Rest(first, lines) if delimiter == usual and first.count('"') % 2 else again
            found[delimiter] = next(csv.reader(source, delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            if delimiter == usual and first.count('"') % 2:
                raise _broken(error, lines, file, start, delimiter) from None
    for delimiter, names in found.items():
        if columns and all(column in names for column in columns):
            _check_once(names, columns, file)
            return names, delimiter
    names = found.get(usual, [first.strip()])
    if columns:
        missing = next(column for column in columns if column not in names)
        raise InputError(f"{file} {no_column(missing, names)}")
    widest = max(found, key=lambda delimiter: len(found[delimiter])) if len(names) == 1 and found else usual
    return found.get(widest, names), widest


def _not_blank(lines: _Lines) -> str:
    for line in lines:
        if line.strip():
            return line
        lines.record = []
    return ""


class _Rest:
    """`first`, then the other lines."""

    def __init__(self, first: str, lines: _Lines) -> None:
        self._first, self._lines = [first], lines

    def __iter__(self) -> "_Rest":
        return self

    def __next__(self) -> str:
        return self._first.pop() if self._first else next(self._lines)


def _check_once(names: list[str], columns: Sequence[str], file: Path) -> None:
    counts = Counter(names)
    twice = [column for column in columns if counts[column] > 1]
    if twice:
        raise InputError(f"{file} has the column {twice[0]!r} {counts[twice[0]]} times; rename all but one")


def _next(reader, lines: _Lines, file: Path, start: int) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise _broken(error, lines, file, start, reader.dialect.delimiter) from None


def _broken(error: Exception, lines: _Lines, file: Path, start: int, delimiter: str) -> InputError:
    opened = start + _opening(lines.record, delimiter)
    if "unexpected end" in str(error):
        return InputError(f"{file} line {opened} opens a quote that is never closed; close it, or double it inside")
    if "expected after" in str(error):
        return InputError(
            f"{file} line {opened} opens a quote that closes in the middle of a field, at line {lines.number}; "
            "double the quotes inside quotes"
        )
    return InputError(f"{file} line {lines.number} is not CSV ({error}); repair it")


def _opening(record: list[str], delimiter: str) -> int:
    """Which line of a record, from 0, opens the quote that is open last."""
    opened, inside, fresh = 0, False, True
    for number, line in enumerate(record):
        place = 0
        while place < len(line):
            letter = line[place]
            if inside:
                if letter == '"':
                    if line[place + 1 : place + 2] == '"':
                        place += 1
                    else:
                        inside = False
                        if line[place + 1 : place + 2] not in (delimiter, "\r", "\n", ""):
                            return opened
            elif letter == '"' and fresh:
                opened, inside = number, True
            fresh = not inside and letter in (delimiter, "\r", "\n")
            place += 1
    return opened


def _values(fields: list[str], header: list[str], file: Path, line: int, bad: BadRows) -> dict[str, str] | None:
    if len(fields) != len(header):
        message = f"{file} line {line} has not as many fields as the header ({len(fields)} for {len(header)})"
        return bad("number of fields", f"{message}; repair that line", file=str(file), row=line)
    if fields == header:
        message = f"{file} line {line} is the header again (files that were joined?); remove that line"
        return bad("the header again", message, file=str(file), row=line)
    if any("\0" in value for value in fields):
        return bad("NUL byte", f"{file} line {line} holds a NUL byte; repair that line", file=str(file), row=line)
    return dict(zip(header, fields, strict=True))
