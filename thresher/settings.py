"""Frozen records of settings that grow: what an artefact's request says of them stays what it was.

A field that came later is left out of the record while it has its default, so that what was made before the field
existed is found again.
"""

from dataclasses import asdict, field, fields
from typing import Any

_LATER = "later"


def later(default: Any) -> Any:
    """A dataclass field that is recorded only where it differs from `default`."""
    return field(default=default, metadata={_LATER: True})


def record(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass as requests and places of artefacts hold them."""
    unchanged = {item.name for item in fields(settings) if item.metadata.get(_LATER) and _is_default(settings, item)}
    return {name: value for name, value in asdict(settings).items() if name not in unchanged}


def _is_default(settings: Any, item: Any) -> bool:
    return getattr(settings, item.name) == item.default
