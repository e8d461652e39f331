"""Numbers and texts as a page carries them: JSON that no tag can end, arrays of numbers in base 64."""

import base64
import json
import re
from typing import Any

import numpy as np

TYPES = {"f": "<f4", "i": "<i4", "u": "u1"}
HALF = re.compile("[\ud800-\udfff]")


def packed(values: Any, kind: str) -> dict[str, str]:
    """An array, flattened row by row, for `numbers` in data.js; `kind`: f (float32), i (int32) or u (uint8)."""
    raw = np.ascontiguousarray(np.asarray(values), dtype=TYPES[kind]).tobytes()
    return {"as": kind, "of": base64.b64encode(raw).decode()}


def packed_size(count: int, kind: str) -> int:
    """Bytes of `packed` of so many numbers, about."""
    return 4 * count * np.dtype(TYPES[kind]).itemsize // 3 + 24


def as_json(value: Any) -> str:
    """JSON for a script element: no `<`, `>` or `&` is left in it, nor half of a character that UTF-8 cannot write."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return HALF.sub(lambda half: f"\\u{ord(half.group()):04x}", text)


def json_size(value: Any) -> int:
    """Bytes of `as_json`."""
    return len(as_json(value).encode())
