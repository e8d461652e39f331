"""Which files a source stands for: of files, globs and folders, those that hold its rows, and why not the others."""

import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from thresher.data.sources.compressed import OPENERS
from thresher.data.sources.folders import each_folder_once, first_twice, is_hidden, walk, without_descriptions
from thresher.data.sources.named_splits import ALL, check_split, choose, splits_of_rows, splits_of_tables
from thresher.data.sources.training_formats import beside, mds_indexes
from thresher.errors import InputError

READERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".py": "text",
    ".idx": "megatron",
}
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
KNOWN = f"{', '.join(READERS)} and images"
METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}
ABOUT = {"README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "CHANGELOG"}
TABLES = ("parquet", "arrow", "json", "csv")
FILES_ARE_ROWS = ("text", "imagefolder")


@dataclass
class Found:
    """`files` of one `reader`; `left_out` has the others of the folders, each with a reason."""

    reader: str = ""
    files: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    metadata: list[Path] = field(default_factory=list)
    """What is read with them: of images tables that say more about them, of MDS and Megatron what an index names."""
    folders: list[Path] = field(default_factory=list)
    """Those that were given."""
    in_splits: bool = False
    """Whether folders of images or text name splits."""


def find_files(data: Sequence[str], split: str | None = None, subset: str | None = None) -> Found | None:
    """What `data` stands for; None: the name of a data set on the hub.

    A folder, or a pattern, gives the files of one split (see `named_splits`). Hidden files, and what tools
    leave behind, are passed over at any depth. InputError for what does not exist, cannot be read, or is of several
    kinds.
    """
    if not data:
        raise InputError("no data was given; give a file, a glob, a folder or the name of a data set on the hub")
    if subset is not None:
        data = [_with_subset(entry, subset) for entry in data]
        if len(data) == 1 and _could_be_hub_name(data[0]) and not Path(data[0]).exists():
            return None
    found, given, order = Found(), [], []
    for entry in data:
        before = len(found.files)
        path = Path(entry).expanduser()
        if path.is_dir():
            _merge(found, _in_folder(path, [path], split))
        elif path.is_file():
            given.append(path)
        elif matches := sorted(glob.glob(str(path), recursive=True)):
            _merge(found, _in_folder(_fixed_part(path), [Path(match) for match in matches], split, name=entry))
        elif len(data) == 1 and _could_be_hub_name(entry):
            return None
        else:
            raise InputError(f"{entry} does not exist; check the path (a hub data set is written OWNER/NAME)")
        order.append([path] if path.is_file() else found.files[before:])
    if given:
        _merge(found, _given(given, split))
        kept = set(found.files)
        order = [[file for file in files if file in kept] for files in order]
        found.files = [file for files in order for file in files]
    # The name of a file that is a row, or an index of what lies beside it, says something where it is a link, too.
    named = given if found.reader in FILES_ARE_ROWS else []
    twice = first_twice(order, named, by_folder=found.reader not in TABLES)
    if twice is not None:
        file, before = twice
        where = "" if file == before else f", before as {before}"
        raise InputError(f"{file} is given twice{where}; name it once (repeat examples by selecting with repeats)")
    found.files = [file.absolute() for file in found.files]
    read_too = beside(found.reader, found.files)
    found.metadata += read_too
    found.left_out = [(file, reason) for file, reason in found.left_out if file.absolute() not in set(read_too)]
    return found


def _merge(found: Found, more: Found) -> None:
    if found.reader not in ("", more.reader):
        raise InputError(
            f"{more.files[0]} and the others are of several formats ({found.reader}, {more.reader}); give one"
        )
    found.reader = more.reader
    for name in ("files", "left_out", "metadata", "folders"):
        getattr(found, name).extend(getattr(more, name))
    found.in_splits |= more.in_splits


def _given(files: list[Path], split: str | None) -> Found:
    """Files that were named one by one."""
    readers = {reader_of(file) for file in files}
    if "" in readers:
        odd = next(file for file in files if not reader_of(file))
        raise InputError(f"{odd} has an ending that cannot be read; known endings: {KNOWN}")
    if len(readers) > 1:
        raise InputError(f"{files[0]} and the others are of several formats ({', '.join(sorted(readers))}); give one")
    found = Found(readers.pop(), files)
    if split is not None:
        names = [PurePath(file.name) for file in files]
        _keep(found, splits_of_tables(names), split, name=", ".join(map(str, files)), given=True)
    return found


def _in_folder(root: Path, entries: list[Path], split: str | None, name: str | None = None) -> Found:
    """The files of a folder, or those of a pattern's matches; `root` is what their paths are relative to."""
    matches, name = name is not None, name or str(root)
    if not matches and (root / "dataset_dict.json").is_file():
        return _saved_splits(root, split)
    if not matches and (indexes := mds_indexes(root, split)):
        return Found("mds", indexes, folders=[root])
    files = each_folder_once((file for entry in entries for file in (walk(entry) if entry.is_dir() else [entry])), root)
    # A pattern reaches into folders of its own accord.
    seen = [file for file in files if not any(map(is_hidden, file.relative_to(root).parts))]
    found = _of_one_kind(without_descriptions(seen), name)
    if not matches:
        found.folders = [root]
    if found.reader == "text":
        _leave_card(found, root)
    paths = [PurePath(file.relative_to(root)) for file in found.files]
    if found.reader in TABLES:
        splits = splits_of_tables(paths)
    else:
        splits = splits_of_rows(paths, named=bool(found.metadata) or found.reader == "text")
        found.in_splits = all(splits)
    _keep(found, splits, split, name=name, given=matches and len({*splits}) == 1)
    return found


def _leave_card(found: Found, root: Path) -> None:
    """Leave out what describes a repository of data and is no document of it.

    That is a README that begins with a card's settings, or any file of such a name beside folders and files of splits.
    """
    about = [file for file in found.files if file.parent == root and file.stem.upper() in ABOUT]
    rest = [file for file in found.files if file not in set(about)]
    in_splits = rest and all(splits_of_rows([PurePath(file.relative_to(root)) for file in rest], named=True))
    dropped = [file for file in about if in_splits or (rest and file.read_bytes()[:4] in (b"---\n", b"---\r"))]
    found.files = [file for file in found.files if file not in set(dropped)]
    found.left_out += [(file, "about the data") for file in dropped]


def _keep(found: Found, splits: list[str | None], split: str | None, *, name: str, given: bool) -> None:
    chosen = choose(found.files, splits, split, name=name, given=given)
    others = zip(found.files, splits, chosen, strict=True)
    found.left_out += [(file, f"of the split {own or 'train'}") for file, own, keep in others if not keep]
    found.files = [file for file, keep in zip(found.files, chosen, strict=True) if keep]


def _saved_splits(root: Path, split: str | None) -> Found:
    """Of a folder of DatasetDict.save_to_disk."""
    try:
        there = list(json.loads((root / "dataset_dict.json").read_text("utf-8"))["splits"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{root / 'dataset_dict.json'} does not name splits; save the data set again") from None
    wanted = there if split == ALL else [check_split(split, there, str(root))]
    found = Found("arrow", folders=[root])
    for own in there:
        files = without_descriptions(walk(root / own))
        if own in wanted:
            found.files += files
        else:
            found.left_out += [(file, f"of the split {own}") for file in files]
    if not found.files:
        raise InputError(f"{root} holds no .arrow file of the split {', '.join(wanted)}; save the data set again")
    return found


def _of_one_kind(files: list[Path], name: str) -> Found:
    """Images if there are any, else tables, else text."""
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(reader_of(file), []).append(file)
    tables = [kind for kind in TABLES if kind in kinds]
    images = kinds.get("imagefolder")
    if images:
        heavy = [kind for kind in tables if kind in ("parquet", "arrow") and not _all_metadata(kinds[kind])]
        if heavy:
            raise InputError(f"{name} holds images and {heavy[0]} files; give one kind, as a folder or a pattern")
        chosen, reader = images, "imagefolder"
    elif "megatron" in kinds:
        chosen, reader = kinds["megatron"], "megatron"
    elif len(tables) > 1:
        raise InputError(
            f"{kinds[tables[0]][0]} and the others in {name} are of several formats ({', '.join(tables)}); "
            f"give one, such as {name}/*{kinds[tables[0]][0].suffix}"
        )
    elif tables or "text" in kinds:
        reader = tables[0] if tables else "text"
        chosen = kinds[reader]
    else:
        raise InputError(f"{name} holds no file that can be read; known endings: {KNOWN}")
    metadata = [file for file in files if images and file.name in METADATA]
    used = {*chosen, *metadata}
    if reader in TABLES:
        chosen, again = _each_once(chosen)
    else:
        again = []
    left_out = [(file, "not of the format that is read here") for file in files if file not in used]
    return Found(reader, chosen, left_out + [(file, "a link to another file here") for file in again], metadata)


def _all_metadata(files: list[Path]) -> bool:
    return all(file.name in METADATA for file in files)


def _each_once(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Files, and links to files that are among them."""
    real = {os.path.realpath(file) for file in files if not file.is_symlink()}
    kept, again = [], []
    for file in files:
        target = os.path.realpath(file)
        (again if file.is_symlink() and target in real else kept).append(file)
        real.add(target)
    return kept, again


def reader_of(file: Path) -> str:
    """The name of what reads such a file, by its ending; empty: nothing does."""
    ending = suffix_of(file)
    return READERS.get(ending, "imagefolder" if ending in IMAGES else "")


def suffix_of(file: Path) -> str:
    """The ending, in lower case, without that of a compression."""
    return (Path(file.stem) if file.suffix.lower() in OPENERS else file).suffix.lower()


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first part that has a wildcard."""
    fixed = Path(*[]) if not pattern.is_absolute() else Path(pattern.anchor)
    for part in pattern.parts[1 if pattern.is_absolute() else 0 :]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _with_subset(entry: str, subset: str) -> str:
    """The folder of that name in a folder here; a hub data set knows its configurations itself."""
    path = Path(entry).expanduser()
    if path.is_dir():
        there = sorted(child.name for child in path.iterdir() if child.is_dir() and not is_hidden(child.name))
        if subset not in there:
            raise InputError(f"{entry} has no folder {subset!r} for that configuration; its folders are: {there}")
        return str(path / subset)
    if path.is_file() or glob.glob(str(path), recursive=True):
        raise InputError(f"{entry} is a file, which has no configuration {subset!r}; leave out --config")
    return entry


def _could_be_hub_name(entry: str) -> bool:
    parts = entry.split("/")
    ending = suffix_of(Path(entry))
    return len(parts) <= 2 and all(parts) and ending not in {*READERS, *IMAGES} and "*" not in entry
