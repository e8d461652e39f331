"""Rows of JSON values as columns with a type each, and nothing changed on the way: for Parquet.

Arrow guesses a type from values, and some guesses alter them: an object gets the keys of the others, a whole number
among fractions its nearest one. A column's type is the one that gives every value back; where none does, the column
holds JSON text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from thresher.canonical import json_text

Rows = Sequence[Mapping[str, Any]]
Types = dict[str, pa.DataType | None]
"""None: as JSON text. What is missing stays missing."""


def arrow_types(blocks: Callable[[], Iterable[Rows]]) -> Types:
    """The type of each column of rows that `blocks` gives, twice: once to guess, once to see that guesses hold."""
    guesses: Types = {}
    for rows in blocks():
        for name, values in _columns(rows).items():
            guesses[name] = _common(guesses[name], _guess(values)) if name in guesses else _guess(values)
    for rows in blocks():
        for name, values in _columns(rows).items():
            kind = guesses[name]
            if kind is not None and not _holds(kind, values):
                guesses[name] = None
    return {name: None if kind is None else _storable(kind) for name, kind in guesses.items()}


def schema_of(types: Types) -> pa.Schema:
    """The Parquet schema of columns of these types; what holds no value is text."""
    return pa.schema([(name, pa.string() if kind is None else kind) for name, kind in types.items()])


def table_of(rows: Rows, types: Types) -> pa.Table:
    """`rows` as columns of `types`; a column that a row has not is missing there."""
    arrays, schema = [], schema_of(types)
    for name, kind in types.items():
        values = [row.get(name) for row in rows]
        if kind is None:
            values = [None if value is None else json_text(value) for value in values]
        arrays.append(pa.array(values, schema.field(name).type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _columns(rows: Rows) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _guess(values: list[Any]) -> pa.DataType | None:
    try:
        return pa.infer_type(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return None


def _common(a: pa.DataType | None, b: pa.DataType | None) -> pa.DataType | None:
    """A type for what has either; a guess that it alters nothing."""
    if a is None or b is None:
        return None
    if a == b:
        return a
    try:
        schemas = [pa.schema([("column", kind)]) for kind in (a, b)]
        return pa.unify_schemas(schemas, promote_options="permissive").field("column").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def _holds(kind: pa.DataType, values: list[Any]) -> bool:
    try:
        back = pa.array(values, kind).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
        return False
    return all(_same(value, other) for value, other in zip(values, back, strict=True))


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON values; a whole number is the same as itself with .0."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, dict):
        return (
            isinstance(other, dict) and value.keys() == other.keys() and all(_same(value[k], other[k]) for k in value)
        )
    if isinstance(value, list):
        return isinstance(other, list) and len(value) == len(other) and all(map(_same, value, other))
    return value == other or (value != value and other != other)


def _storable(kind: pa.DataType) -> pa.DataType | None:
    """What Parquet has: an object without keys cannot be written; a column of nothing is one of text."""
    if pa.types.is_null(kind):
        return pa.string()
    return None if _has_empty_struct(kind) else kind


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty_struct(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_list(kind) and _has_empty_struct(kind.value_type)
