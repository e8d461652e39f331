"""What a value of a row may be: text, or the exact text of what names something (an id, a domain, a class)."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

EXACT = 2**53
"""Below it a float holds every whole number exactly."""


class Unusable(Exception):
    """A value that gives no document: a reason to count its row by, and what is said where it is refused."""


class ClassName(str):
    """The name of a numbered class of `datasets`, with its number, counted from 0."""

    number: int

    @classmethod
    def of(cls, number: int | None, names: Sequence[str]) -> "ClassName | None":
        """None for null and for -1, by which `datasets` says that there is none."""
        if number is None or number == -1:
            return None
        name = cls(names[number])
        name.number = number
        return name


def name_of(value: Any, column: str) -> str:
    """The exact text of an id, a domain, a class or a group; empty where there is none (null).

    Text as it is, whole numbers by their digits, true and false as JSON writes them. A float is taken where it is a
    whole number below 2^53 (what pandas makes of whole numbers with gaps: 1.0 is 1). Anything else raises Unusable.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    raise Unusable("not a name", f"column {column!r} holds {_kind(value)}; {_instead(value, column)}")


def text_of(value: Any, column: str) -> str:
    """Text as it is written; empty where there is none (null). Anything else raises Unusable."""
    if value is None or isinstance(value, str):
        return value or ""
    hint = _instead(value, column) if isinstance(value, Mapping) else "name another"
    raise Unusable("not text", f"column {column!r} holds {_kind(value)}, not text; {hint}")


def file_named(value: Any, folder: Path | None = None) -> Path | None:
    """The file that an undecoded image ({"bytes", "path"}) names; None where it holds the bytes itself, or is none.

    A path that is not absolute starts at `folder`.
    """
    if isinstance(value, dict) and value.get("bytes") is None and value.get("path"):
        return Path(folder or ".", str(value["path"]))
    return None


def joined_id(parts: Sequence[str]) -> str:
    """One id of the values of several columns, joined by `/`; empty where one of them is.

    A `/` in a value is written %2F and a % is written %25, so that different values never make the same id.
    """
    if len(parts) == 1:
        return parts[0]
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts) if all(parts) else ""


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"objects (fields {', '.join(map(str, value))})"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"the float {value!r}"
    if type(value).__module__.startswith("thresher."):
        return str(value)  # a reader's own word for what Python has no type for
    return {list: "lists", bytes: "bytes"}.get(type(value), type(value).__name__)


def _instead(value: Any, column: str) -> str:
    if isinstance(value, Mapping):
        fields = [f"{column}.{name}" for name in value]
        return f"name a field of it, such as {fields[0]}" if fields else "name another"
    return "write text or whole numbers there, or name another column"


def take(values: dict[str, Any], columns: Iterable[str]) -> str | None:
    """Puts the fields that dotted columns name (`meta.source`) into `values`, beside its own columns.

    A column that has the dots in its name comes first; a field of null is null. Returns the first column not there.
    """
    for column in columns:
        if column in values:
            continue
        head, found = _owner(values, column)
        if head is None:
            return column
        values[column] = found
    return None


def is_field(column: str, values: Mapping[str, Any]) -> bool:
    """Whether `take` put `column` there: the values hold the object that it is a field of."""
    return (
        "." in column and _owner({name: own for name, own in values.items() if name != column}, column)[0] is not None
    )


def _owner(values: Mapping[str, Any], column: str) -> tuple[str | None, Any]:
    for end in (place for place, letter in enumerate(column) if letter == "."):
        head, rest = column[:end], column[end + 1 :]
        if head not in values:
            continue
        inner = values[head]
        if inner is None:
            return head, None
        if isinstance(inner, Mapping):
            if rest in inner:
                return head, inner[rest]
            below, found = _owner(inner, rest)
            if below is not None:
                return head, found
    return None, None


def no_column(column: str, there: Iterable[Any]) -> str:
    """What is said of a column that is not there."""
    names = [str(name) for name in there]
    near = get_close_matches(column, names, 1) or [name for name in names if name.strip().lower() == column.lower()]
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"has no column {column!r}; its columns are: {', '.join(names)}{hint}"


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of the names that differ only in white space, writing (Unicode forms) or case; None where there are none.

    Names of a single letter may differ in case.
    """
    seen: dict[str, str] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).split())
        key = plain if len(plain) == 1 else plain.casefold()
        if seen.setdefault(key, name) != name:
            return seen[key], name
    return None
