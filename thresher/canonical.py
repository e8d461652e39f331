"""Plain values and their canonical hash: what an artefact's identity is made of.

A request is known by what it says, so only values that say the same in every process and every version may be part of
it. Anything else is refused: written by `str()`, it would change with the name of a class, and an artefact would be
lost without a word.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any


def plain(value: Any, *, finite: bool = True) -> Any:
    """`value` as JSON gives it back: None, bool, int, float, str, lists of them, mappings from str to them.

    numpy numbers are numbers, tuples are lists. Raises TypeError, which says where the value stands, for any other
    type and, unless `finite` is False, for a number that is not finite.
    """
    return _plain(value, "value", finite)


def hash_json(value: Any) -> str:
    """SHA-256, hexadecimal, of a plain value: keys sorted, so that their order says nothing."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def without_nan(value: Any, default: Callable[[Any], Any] | None = None) -> Any:
    """`value` as JSON gives it back, with None for NaN and infinities, which JSON has not; `default` is `json.dumps`'s.

    Raises TypeError for what is no plain value, where there is no `default`.
    """
    return json.loads(json.dumps(value, default=default), parse_constant=lambda _: None)


def json_text(value: Any) -> str:
    """`value` as one line of JSON that any reader takes: text as it is, NaN and infinities as null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(without_nan(value), ensure_ascii=False)


def _plain(value: Any, where: str, finite: bool) -> Any:
    numpy = sys.modules.get("numpy")  # whoever has one of its numbers has loaded it
    if numpy is not None and isinstance(value, numpy.generic):
        value = value.item()
    # Exactly these: a subclass may write itself otherwise.
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        if finite and not math.isfinite(value):
            raise TypeError(f"{where} is {value}, which no artefact can be made from; pass a finite number")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{where} has the key {key!r}, which is a {type(key).__name__}; keys are text")
        return {key: _plain(item, f"{where}.{key}", finite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{position}]", finite) for position, item in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}, which is no plain value; pass numbers, text, lists and mappings of them"
    )
