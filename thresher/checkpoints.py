"""What the name of a checkpoint stands for: a folder here, or a repository of the hub.

A missing path is never asked of the network.
"""

import difflib
import re
from pathlib import Path

from thresher.errors import InputError

HUB = "hf:"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Files that make a folder a model, or a tokenizer.
MARKS = ("meta.json", "config.json", "tokenizer.json")


def locate(name: str) -> Path | str:
    """The path of what is here, or for `hf:OWNER/NAME` (or `hf:NAME`) that is not here the repository's name.

    Raises InputError for a path that does not exist, with near matches, and for a name without `hf:` that is none.
    `hf:A/B` where a folder A is here is a path, and so is `hf:B` beside a folder almost of that name.
    """
    bare = name.removeprefix(HUB)
    path = Path(bare).expanduser()
    if not bare:
        raise InputError(f"{name!r} names no checkpoint; write hf:FOLDER or hf:OWNER/NAME")
    if path.exists():
        return path
    near = near_paths(path)
    may_be_hub = REPOSITORY.fullmatch(bare) is not None and not ("/" in bare and path.parent.is_dir())
    if may_be_hub and name != bare and not near:
        return bare
    hint = f"; near it: {', '.join(map(str, near))}" if near else ""
    hub = f", or for the hub write hf:{bare if '/' in bare else 'OWNER/' + bare}" if may_be_hub else ""
    raise InputError(f"{bare} does not exist: there is no such file or folder{hint}; check the path{hub}")


def near_paths(path: Path) -> list[Path]:
    """Folders beside a missing path that hold a model or a tokenizer and are almost named so; at most three."""
    try:
        found = [p for p in path.parent.iterdir() if p.is_dir() and any((p / mark).is_file() for mark in MARKS)]
    except OSError:
        return []
    names = difflib.get_close_matches(path.name, [p.name for p in found], n=3, cutoff=0.6)
    return [path.parent / name for name in names]
