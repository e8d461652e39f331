"""Positions and weights as people give them: lists, arrays or tensors, in which a mask or a fraction is no position."""

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from thresher.errors import InputError


def whole(value: Any, name: str, action: str) -> int:
    """`value` as an int. Raises InputError for booleans and for what is no whole number; `action` says what to pass."""
    try:
        is_boolean = isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
        number = None if is_boolean else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        shown = np.asarray(value).item() if getattr(value, "ndim", None) == 0 else value
        raise InputError(f"{name}={shown!r} is no whole number; {action}")
    return number


def positions(values: Iterable[Any], name: str) -> list[int]:
    """Each of `values` as a position. Raises InputError for masks, floats and whatever else is none."""
    action = "pass positions, which for a mask are np.flatnonzero(mask)"
    if not isinstance(values, Iterable) or isinstance(values, str) or getattr(values, "ndim", 1) != 1:
        raise InputError(f"{name}={values!r} is no list of positions; {action}".replace("\n", " "))
    return [whole(value, f"{name}[{place}]", action) for place, value in enumerate(values)]


def weights_of(values: Iterable[Any], count: int) -> list[float]:
    """The weights of `count` test examples. Raises InputError for another number of them, and for what is no number."""
    try:
        weights = np.asarray([float(value) for value in values])
    except (TypeError, ValueError):
        raise InputError(
            f"weights={values!r} are no numbers; pass one for each test example".replace("\n", " ")
        ) from None
    if len(weights) != count:
        raise InputError(f"{len(weights)} weights for {count} test examples; give one for each, or none")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputError(f"weights={weights.tolist()} must be finite and 0 or more, not all 0; give other weights")
    return weights.tolist()
