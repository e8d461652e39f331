"""The files of a folder that may hold data: nothing hidden, nothing that tools leave behind or that only describes."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from thresher.errors import InputError

# What systems and tools leave beside data; names that begin with a dot are passed over too.
LEFT_BEHIND = set(
    "__MACOSX __pycache__ _delta_log _temporary _spark_metadata _SUCCESS _metadata _common_metadata "
    "Thumbs.db desktop.ini lost+found $RECYCLE.BIN".split()
)
# What `datasets` writes beside its data, and about a repository of data.
DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json"}


def walk(folder: Path) -> list[Path]:
    """All files that are not hidden, in the order of their paths. Links to folders are followed, each folder once."""

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); check its permissions")

    files: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        for place, folders, names in os.walk(waiting.pop(0), onerror=fail):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            # After all real folders, so that a file keeps the path that it has without the links.
            waiting += [link for name in folders if (link := Path(place, name)).is_symlink()]
            files += [Path(place, name) for name in names if not is_hidden(name)]
    return sorted(file for file in files if file.is_file())


def each_folder_once(files: Iterable[Path], root: Path) -> list[Path]:
    """Without the files that are among these by another path too, through a link to their folder in `root`."""
    files = list(dict.fromkeys(files))
    real = _real_folders(files)
    top = os.path.realpath(root)
    linked = {folder: real[folder] != os.path.normpath(Path(top, folder.relative_to(root))) for folder in real}
    kept: dict[tuple[str, str], Path] = {}
    for file in sorted(files, key=lambda file: linked[file.parent]):  # a file keeps the path that it has without links
        kept.setdefault((real[file.parent], file.name), file)
    return [file for file in files if kept[real[file.parent], file.name] == file]


def first_twice(
    entries: Sequence[Sequence[Path]], given: Iterable[Path], *, by_folder: bool
) -> tuple[Path, Path] | None:
    """The first file of an entry that an entry before has too, and its path there; None: no two have one.

    Files are known by where they really lie. With `by_folder` one that is a link is a file of its own, in the folder
    where it really lies, unless it leads to one of the files that were `given` by name.
    """
    named, seen = {os.path.realpath(file) for file in given}, dict[str, Path]()
    for files in entries:
        real, own = _real_folders(files), dict[str, Path]()
        for file in files:
            place = os.path.join(real[file.parent], file.name)
            if os.path.islink(place) and (not by_folder or os.path.realpath(place) in named):
                place = os.path.realpath(place)
            if place in seen:
                return file, seen[place]
            own[place] = file
        seen |= own
    return None


def _real_folders(files: Iterable[Path]) -> dict[Path, str]:
    return {folder: os.path.realpath(folder) for folder in {file.parent for file in files}}


def without_descriptions(files: list[Path]) -> list[Path]:
    """Without what only describes data; of a folder of Dataset.save_to_disk, the files that its state names."""
    names = {file.parent: set() for file in files}
    for file in files:
        names[file.parent].add(file.name)
    kept = []
    own: dict[Path, set[str]] = {}
    for folder, there in names.items():
        if {"state.json", "dataset_info.json"} <= there:
            own[folder] = set(_state(folder / "state.json"))
            if missing := sorted(own[folder] - there):
                raise InputError(f"{folder / missing[0]} is missing, which state.json beside it names; copy it again")
    for file in files:
        if file.parent in own:
            kept += [file] if file.name in own[file.parent] else []
        elif file.name not in DESCRIPTIONS:
            kept.append(file)
    return kept


def _state(file: Path) -> list[str]:
    try:
        return [entry["filename"] for entry in json.loads(file.read_text("utf-8"))["_data_files"]]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} does not name the data beside it; save the data set again") from None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over: it begins with a dot, or a tool left it behind."""
    return name.startswith(".") or name in LEFT_BEHIND
