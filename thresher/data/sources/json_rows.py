"""Rows of JSON files, whatever their ending: a value a line, an array of objects, or objects written over many lines.

Values are kept as JSON has them: text that looks like a date is text, whole numbers have all their digits.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from thresher.data.sources.lines import MARK, text_lines, whole_text
from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows
from thresher.data.sources.values import no_column, take
from thresher.errors import InputError

BLANK = " \t\r\n" + MARK
SPACE = re.compile(f"[{BLANK}]*")
LINE_END = re.compile(r"\r\n|\r|\n")


def read_json(files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False) -> Iterator[Row]:
    """A row an object. Only a file that is not JSON lines is held in memory, as text."""
    for file in files:
        empty = True
        for row in _by_line(file, columns, bad) if _has_lines(file, bad) else _by_value(file, columns, bad):
            empty = False
            yield row
        if empty:
            raise InputError(f"{file} is empty: it has no rows; leave it out, or give a file with rows")


def _has_lines(file: Path, bad: BadRows) -> bool:
    """Whether each line is a value. Else the file is one: an array, an object, or several, over lines as they fall."""
    lines = (stripped for line in text_lines(file, bad, rows=False) if (stripped := line.strip(BLANK)))
    start = list(islice(lines, 2))
    if not start or start[0][0] == "[":
        return not start
    try:
        json.loads(start[0])
        return len(start) > 1  # of one line: the object may hold the rows
    except (ValueError, RecursionError):
        pass
    if start[0][0] != "{":
        return True
    try:  # an object that its first line does not end, or a damaged line
        next(_Decoder().values(whole_text(file, bad)))
        return False
    except (ValueError, RecursionError):
        return True


def _by_line(file: Path, columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    decoder = _Decoder()
    for number, line in enumerate(text_lines(file, bad), start=1):
        line = line.strip(BLANK)
        if not line:
            continue
        values = None
        try:
            value = decoder.decode(line)
        except (ValueError, RecursionError) as error:
            message = f"{file} line {number} is not JSON ({error}); repair that line, or remove it"
            bad("not JSON", message, file=str(file), row=number)
        else:
            twice = decoder.twice_in(value)
            values = _checked(value, twice, f"{file} line {number}", file, number, columns, bad)
        yield Row(str(file), number, values)


def _by_value(file: Path, columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    decoder, text = _Decoder(), whole_text(file, bad)
    found = decoder.values(text)
    try:
        first = list(islice(found, 2))
        if len(first) == 1 and isinstance(first[0][0], dict) and not first[0][2]:
            yield from _alone(file, first[0][0], decoder, columns, bad)
            return
        for number, (value, twice, _) in enumerate(_chain(first, found), start=1):
            values = _checked(value, twice, f"{file} row {number}", file, number, columns, bad)
            yield Row(str(file), number, values)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        place = len(LINE_END.findall(text, 0, getattr(error, "pos", 0))) + 1
        reason = getattr(error, "msg", str(error))
        raise InputError(f"{file} line {place} is not JSON ({reason}); repair it") from None


def _alone(file: Path, value: dict, decoder: "_Decoder", columns: Sequence[str], bad: BadRows) -> Iterator[Row]:
    """A file that is one object: a row, or its one field that holds the rows ({"data": [...]})."""
    name = _rows_in(value, columns, file)
    if name is None:
        yield Row(str(file), 1, _checked(value, decoder.twice_in(value), f"{file} line 1", file, 1, columns, bad))
        return
    rows = value[name]
    twice = decoder.twice_in(value, but=rows)
    if twice is not None:
        _checked(value, twice, str(file), file, None, (), bad)
    for number, row in enumerate(rows, start=1):
        where = f"{file} row {number} of {name!r}"
        yield Row(str(file), number, _checked(row, decoder.twice_in(row), where, file, number, columns, bad))


def _rows_in(value: dict, columns: Sequence[str], file: Path) -> str | None:
    """The field of a lone object that holds the rows; None where the object is a row itself.

    It is the list in which any row has the columns, so that the others are judged like rows of an array; else, and
    where no columns are asked for, the only list of objects, if no text of several words beside it would be lost.
    """
    if columns and take(dict(value), columns) is None:
        return None
    lists = {name: own for name, own in value.items() if isinstance(own, list) and any(map(_is_object, own))}
    fitting = [name for name, own in lists.items() if columns and any(_has(row, columns) for row in own)]
    if len(fitting) > 1:
        names = ", ".join(map(repr, fitting))
        raise InputError(f"{file} holds rows in {names}; write those that are meant to a file of their own")
    if fitting:
        return fitting[0]
    lone = next(iter(lists)) if len(lists) == 1 else None
    beside = [own for name, own in value.items() if name != lone]
    return None if any(isinstance(part, str) and len(part.split()) > 1 for part in _parts(beside)) else lone


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _has(row: Any, columns: Sequence[str]) -> bool:
    return isinstance(row, dict) and take(dict(row), columns) is None


def _parts(value: Any, but: Any = None) -> Iterator[Any]:
    """A value and all that is in it, the outer before the inner, without what is `but`."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if but is not None and part is but:
            continue
        yield part
        if isinstance(part, dict | list):
            waiting.extend(part.values() if isinstance(part, dict) else part)


def _checked(
    value: Any, twice: str | None, where: str, file: Path, number: int | None, columns: Sequence[str], bad: BadRows
) -> dict | None:
    place: dict[str, Any] = {"file": str(file), "row": number}
    if not isinstance(value, dict):
        return bad(
            "not an object", f"{where} is {type(value).__name__}, not an object with columns; repair it", **place
        )
    if twice is not None:
        return bad("a key twice", f"{where} has the key {twice!r} twice in one object; keep one of them", **place)
    missing = take(value, columns)
    if missing is not None:
        return bad(f"no column {missing}", f"{where} {no_column(missing, value)}", **place)
    return value


class _Decoder:
    """JSON values one after another; of the last one it knows which objects have a key twice."""

    def __init__(self) -> None:
        self._twice: dict[int, tuple[dict, str]] = {}  # by id(), each kept so that it stays the only one with it
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            self._twice[id(made)] = made, next(key for key in keys if keys.count(key) > 1)
        return made

    def twice_in(self, value: Any, but: Any = None) -> str | None:
        """A key that an object in `value`, the last value or a part of it, has twice; `but` is not looked at."""
        for part in _parts(value, but) if self._twice else ():
            if id(part) in self._twice:
                return self._twice[id(part)][1]
        return None

    def decode(self, line: str) -> Any:
        self._twice = {}
        return self._decoder.decode(line)

    def values(self, text: str) -> Iterator[tuple[Any, str | None, bool]]:
        """The values in `text`, those of arrays one by one; each with a key it has twice, and whether of an array."""
        place = _skip(text, 0)
        while place < len(text):
            if text[place] == "[":
                place = _skip(text, place + 1)
                while text[place : place + 1] != "]":
                    value, place = self._next(text, place)
                    yield value, self.twice_in(value), True
                    if text[place : place + 1] == "]":
                        break
                    if text[place : place + 1] != ",":
                        raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
                    place = _skip(text, place + 1)
                    if text[place : place + 1] == "]":
                        raise json.JSONDecodeError("a comma before the end of the array", text, place)
                place = _skip(text, place + 1)
            else:
                value, place = self._next(text, place)
                yield value, self.twice_in(value), False

    def _next(self, text: str, place: int) -> tuple[Any, int]:
        self._twice = {}
        value, end = self._decoder.raw_decode(text, place)
        return value, _skip(text, end)


def _skip(text: str, place: int) -> int:
    match = SPACE.match(text, place)
    assert match is not None
    return match.end()


def _chain(first: list, rest: Iterator) -> Iterator:
    yield from first
    yield from rest
