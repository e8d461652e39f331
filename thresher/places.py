"""Where a command may write: never into an artefact, over what it reads, or among files that are not its own.

Three kinds of place: an *artefact* (a folder that `artifacts.build` publishes), a *workspace* (a folder of artefacts
and of the pages about them) and a *file* (a page, a table, an array). All are looked at before anything is written.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thresher.artifacts import atomic_file, checked_json, is_artifact, read_checked
from thresher.canonical import without_nan
from thresher.errors import InputError
from thresher.shown import shown

OWN = re.compile(r"\.?.+-[0-9a-f]{8}(\.partial|\.lock)?")
"""How artefacts in a workspace, begun ones and their locks are called: by a hash of what they are made from."""
MARK = "Written by thresher"
"""Stands near the start of every file that a command may write anew: a page, a study that replays, a result."""
HEADS = (
    re.compile("run,data(,weight_[^,]*)+"),
    re.compile("run,data(,weight_[^,]*)+(,loss_[^,]*)+,flops,seconds"),
    re.compile("test,side,index,id,score,spread"),
)
"""The header of a table of ours, which has no room for our mark: a plan, runs that were made, the top of scores. A plan
to which somebody added columns is theirs."""
MARK_WITHIN = 4096
LOG_HEAD = f"{MARK}: what commands said, and when."
"""The first line of a log, which lines are added to and which nothing is written over."""
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")
"""How each line of one begins."""
ABOUT = "about"
"""The key of JSON that holds the mark."""
STUDY_FILES = ("study.toml", "report.html", "explorer.html", "report.json", "result.json")
"""What a finished study leaves beside its artefacts."""
MOST_BYTES = 200
"""Of a part of a path: file systems take 255, and what is put around a name while it is written needs the rest."""
NAME_BYTES = 100
"""Of a name that becomes a part of one."""


def check_artifact_place(out: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise InputError unless an artefact may be made at `out`, or may be there already."""
    _check_around(out, inputs)
    if out.is_dir() and any(out.iterdir()) and not is_artifact(out):
        raise InputError(f"{out} is a folder with other files in it ({_first(out)}); give one that does not exist")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder that does not exist")


def check_workspace(root: Path, inputs: Iterable[Path] = (), known: Iterable[str] = ()) -> None:
    """Raise InputError unless `root` is new, empty, a workspace, or holds nothing but files that we wrote.

    Names in `known` are the command's own too.
    """
    _check_around(root, inputs)
    if not root.exists():
        return
    if not root.is_dir():
        raise InputError(f"{root} is a file; give a folder for everything that is made")
    check_outside_artifacts(root)
    known = set(known)
    there = [path for path in root.iterdir() if not path.name.startswith(".") or OWN.fullmatch(path.name)]
    if is_workspace(root) or not any(_is_filled(path) for path in there):
        return
    others = (path.name for path in sorted(there) if path.name not in known and not (path.is_file() and is_ours(path)))
    foreign = next(others, None)
    if foreign is not None:
        raise InputError(
            f"{root} has files in it that no study made ({foreign}); give a folder that is new, empty or a study's own"
        )


def check_study_place(root: Path, known: Iterable[str] = ()) -> None:
    """Raise InputError unless a study may be made in `root`, and its files are not somebody else's."""
    check_workspace(root, known=known)
    for name in STUDY_FILES:
        check_file_place(root / name)


def check_file_place(
    out: Path, inputs: Iterable[Path] = (), *, is_own: Callable[[Path], bool] = lambda out: is_ours(out)
) -> None:
    """Raise InputError unless a file may be written at `out`: it is new, or written by us before, as `is_own` knows."""
    _check_around(out, inputs)
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file")
    if out.exists() and not is_own(out):
        raise InputError(
            f"{out} is there already, without the mark of what is written anew; move it away, or give another name"
        )
    if is_log(out):
        raise InputError(f"{out} is a log, which nothing is written over; move it away, or give another name")


def check_log_place(log: Path, inputs: Iterable[Path], places: Iterable[Path]) -> None:
    """Raise InputError unless lines may be added to `log`: it is new or a log of ours, and in none of the `places`.

    What we wrote is no log because of that: a line at the end of a result, a page or a table would damage it.
    """
    _check_around(log, inputs)
    if log.is_dir():
        raise InputError(f"--log {log} is a folder; give the name of a file")
    if log.exists() and not is_empty(log) and not is_log(log):
        raise InputError(f"--log {log} is there already and is no log of ours; give another name")
    if not log.parent.is_dir():
        raise InputError(f"--log {log}: the folder {log.parent} does not exist; make it first, or give another")
    for place in places:
        if place.resolve() == log.resolve():
            raise InputError(f"--log {log} is an output of this command too; give each a place of its own")
        if place.resolve() in log.resolve().parents:
            raise InputError(f"--log {log} is in what this command makes, {place}; give the name of a file beside it")


def check_name(name: str, what: str) -> str:
    """`name` as it is. Raises InputError unless it can be a file's name, a column and a heading; `what` it names."""
    rule = None
    if not name.strip() or name != name.strip():
        rule = "a name has no spaces around it and is not empty"
    elif "/" in name or name.startswith("."):
        rule = "a name cannot hold / or begin with a dot"
    elif shown(name) != name:
        rule = "a name holds no control characters and none that nobody sees"
    elif len(name.encode(errors="surrogatepass")) > NAME_BYTES:
        rule = f"a name takes {NAME_BYTES} bytes at most"
    if rule is not None:
        written = repr(name) if len(name) <= NAME_BYTES else f"{name[:20]!r}..."
        raise InputError(f"{what} {written}: {rule}; choose another")
    return name


@contextmanager
def own_file(path: Path) -> Iterator[Path]:
    """A path to write to, moved to `path` in the end. Raises InputError where a file is that we did not write."""
    check_file_place(path)
    with atomic_file(path) as scratch:
        yield scratch


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """`value` as JSON that says that we wrote it, with a checksum; `read_json` takes both out again.

    JSON has no NaN: the loss of a run that diverged is null there.
    """
    with own_file(path) as file:
        file.write_text(checked_json(without_nan({ABOUT: MARK, **value})), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. Raises ValueError for anything else, and where a byte has changed."""
    return {key: item for key, item in read_checked(path).items() if key != ABOUT}


def published(path: Path | str, beside: Path) -> str:
    """How a path is written in what people hand on: as it is reached from the folder `beside`, never as it stands.

    What lies at home begins with ~, unless `beside` is there too; so no user's name is in it.
    """
    place, start, home = Path(path).expanduser().absolute(), beside.absolute(), Path.home()
    if home in (place, *place.parents) and home not in (start, *start.parents) and home != Path(home.root):
        return str("~" / place.relative_to(home))
    # Folders as they are on disk: from a folder behind a link, .. leads up from where it is.
    return os.path.relpath(place.parent.resolve() / place.name, start.resolve())


def is_workspace(root: Path) -> bool:
    """Whether `root` holds what is named as in a study, itself or up to two folders down (`20K/models/a-0-12345678`).

    A killed study may have left a begun artefact alone, or its lock.
    """
    return any(
        not path.is_symlink() and OWN.fullmatch(path.name) and path.is_dir() != path.name.endswith(".lock")
        for pattern in ("*", "*/*", "*/*/*")
        for path in root.glob(pattern)
    )


def is_ours(file: Path) -> bool:
    """Whether our mark stands near the start of `file`; an empty file is anybody's."""
    with open(file, "rb") as stream:
        start = stream.read(MARK_WITHIN)
    head = start.split(b"\n", 1)[0].decode(errors="replace").rstrip("\r")
    return not start or MARK.encode() in start or any(one.fullmatch(head) for one in HEADS)


def is_empty(file: Path) -> bool:
    """Whether nothing is in `file`, which is then anybody's; also of what has no end, as /dev/null."""
    return file.stat().st_size == 0


def is_log(file: Path) -> bool:
    """Whether `file` is a log: it begins with a log's first line, or, where that is lost, with a line of one."""
    if not file.is_file():
        return False
    with open(file, encoding="utf-8", errors="replace") as stream:
        first = stream.readline(MARK_WITHIN)
    return first.rstrip("\r\n") == LOG_HEAD or LOG_LINE.match(first) is not None


def check_outside_artifacts(folder: Path, out: Path | None = None) -> None:
    """Raise InputError if `folder` is an artefact: nothing is written into one, such as `out`."""
    if is_artifact(folder):
        what = f"{folder} is an artefact" if out is None else f"{out} lies in the artefact {folder}"
        raise InputError(f"{what}, and nothing is written into one; give another place")


def _check_around(out: Path, inputs: Iterable[Path]) -> None:
    """What holds for every place: it can be a name, lies in no artefact, and is neither an input nor around one."""
    long = next((part for part in out.parts if len(part.encode(errors="surrogateescape")) > MOST_BYTES), None)
    if long is not None:
        raise InputError(f"{long[:40]}... is a name of {len(long)} characters; give one of {MOST_BYTES} bytes at most")
    partial = out.with_name(f".{out.name}.partial") if out.name else out
    for link in (partial, out.with_name(f".{out.name}.lock") if out.name else out):
        if link.is_symlink():
            raise InputError(f"{link} is a link, and work is not done through one; remove it")
    if out.is_symlink() and not is_artifact(out):
        raise InputError(f"{out} is a link; give the place that it leads to")
    place = out.resolve()
    for parent in place.parents:
        check_outside_artifacts(parent, out)
    blocked = next((parent for parent in place.parents if parent.exists() and not parent.is_dir()), None)
    if blocked is not None:
        raise InputError(f"{out} cannot be made: {blocked} is no folder; give another place")
    for source in inputs:
        if source.exists() and source.resolve() == place:
            raise InputError(f"{out} is what is read; give another place to write to")
        if source.exists() and place in source.resolve().parents and not is_workspace(place):
            raise InputError(f"{out} is around what is read, {source}; give another place to write to")


def _is_filled(path: Path) -> bool:
    return not path.is_dir() or any(inner.is_file() for inner in path.rglob("*"))


def _first(folder: Path) -> str:
    return min(path.name for path in folder.iterdir())
