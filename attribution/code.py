"""What is asked of code and objects before they are hashed: whose they are, what they read, and what of them counts."""

import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

OWN = frozenset(vars(nn.Module()))
"""Attributes of every module that are read in another way, or say nothing of what it gives."""
PLACES = ("name_or_path", "base_model_name_or_path", "transformers_version", "generation_config")
KNOWN = ("dtype", "model_type")
"""What checkpoints of `transformers` say of where they come from, and what their tensors and class say already."""


@functools.cache
def is_installed(module: str | None) -> bool:
    """Whether a module is Python's own, this package's, or an installed package's."""
    root = (module or "").partition(".")[0]
    if root == "thresher" or root in sys.stdlib_module_names:
        return True
    place = getattr(sys.modules.get(root), "__file__", None) or getattr(sys.modules.get(module or ""), "__file__", None)
    return place is not None and any(folder in place for folder in ("site-packages", "dist-packages"))


def globals_of(code: types.CodeType) -> Iterator[str]:
    """The names of globals that a function reads, or one within it."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from globals_of(constant)


def said_of(value: Any, hidden: str) -> list[tuple[str, Any]]:
    """The attributes of an object that count, but those whose names begin with `hidden`."""
    skipped = {*PLACES, *(KNOWN if is_installed(type(value).__module__) else ())}
    skipped |= OWN if isinstance(value, nn.Module) else set()
    attributes = getattr(value, "__dict__", {}).items()
    return [(name, item) for name, item in attributes if not (name in skipped or name.startswith(hidden))]
