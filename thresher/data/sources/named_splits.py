"""Which split a file belongs to, by the names that people and the `datasets` library give: train, validation, test.

Tables (Parquet, JSON, CSV, Arrow) name a split by a word of their own name (`test-00000-of-00001.parquet`,
`my_dev.jsonl`) or of a folder (`test/a.csv`). Text files and images are rows, so one name alone says nothing: they are
in splits where every path names one at the same depth (`train/cat/1.png`, `test/cat/2.png`; `wiki.train.txt`).
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path, PurePath

from thresher.errors import InputError

WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
ALL = "all"
"""Asks for every split."""
NAMED_BY_CONTENT = {".py", ".md", ".rst"}
"""Endings of files whose own name says what they are about: `train.py` and `test.md` are no splits."""
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")
SEPARATORS = re.compile(r"[-._ 0-9]+")


def splits_of_tables(paths: Sequence[PurePath]) -> list[str | None]:
    """The split that each file of rows names; paths are relative to the folder that was given.

    Shards `NAME-00000-of-00002` are in the split NAME where any file names a split at all (`unsupervised` beside
    `train`); `train_sft` and `train_gen` stay apart, while `squad-train` alone is train.
    """
    words = [_word_of(path) for path in paths]
    if not any(words):
        return words
    shards = [match[1] if (match := SHARD.fullmatch(_stem(path))) else None for path in paths]
    owners: dict[str, set[str]] = {}
    for word, shard in zip(words, shards, strict=True):
        if word and shard:
            owners.setdefault(word, set()).add(shard)
    return [
        shard if shard and (word is None or len(owners[word]) > 1) else word
        for word, shard in zip(words, shards, strict=True)
    ]


def splits_of_rows(paths: Sequence[PurePath], *, named: bool = False) -> list[str | None]:
    """The split of each text file or image: that of the first folder (or name) that is one in every path, or that has a
    word for one in every path, train and others.

    `named` says that classes are named otherwise than by folders; without it a lone folder `train` with images right
    in it is a class. Where train and others stand beside what names no split, that has none: `choose` decides on it.
    """
    nothing: list[str | None] = [None] * len(paths)
    for depth in range(min((len(path.parts) for path in paths), default=0)):
        parts = [_part(path, depth) for path in paths]
        found = [WORDS.get(part.lower()) for part in parts]
        if all(found):
            is_class = len(set(found)) == 1 and not named and any(len(path.parts) == depth + 2 for path in paths)
            return nothing if is_class else found
        if len({split for split in found if split}) > 1 and "train" in found:
            return found
        words = [_word_in(part) for part in parts]
        if all(words) and len(set(words)) > 1 and "train" in words:
            return words
    return nothing


def choose(
    files: Sequence[PurePath], splits: Sequence[str | None], asked: str | None, *, name: str, given: bool
) -> list[bool]:
    """Which of `files`, in `splits`, belong to the split that is asked for, or to the only sensible one: train.

    Files that name no split are train where no other is. `given` says that the person chose the files (their names, or
    a pattern that only one split fits), so that without a question all of them are meant.
    """
    there = sorted({split for split in splits if split})
    if asked == ALL:
        return [True] * len(splits)
    if not there:
        _check(asked, ["train"], name)
        return [True] * len(splits)
    if None in splits and "train" in there and not (given and asked is None):
        raise InputError(
            f"{name} holds the splits {', '.join(there)} and files that name none, such as "
            f"{files[splits.index(None)]}; move those, give the files one by one, or pass split = {ALL}"
        )
    own = [split or "train" for split in splits]
    there = sorted(set(own))
    if asked is None:
        if given:
            return [True] * len(splits)
        if "train" not in there:
            raise InputError(f"{name} has no split train; its splits are: {', '.join(there)}; pass one as split")
        asked = "train"
    wanted = asked if asked in there else WORDS.get(asked.lower(), asked)
    _check(wanted, there, name, asked)
    return [split == wanted for split in own]


def check_split(asked: str | None, there: Sequence[str], name: str) -> str:
    """The split of `there` that is asked for; by default train, or the only one."""
    if asked is None:
        asked = there[0] if len(there) == 1 else "train"
    wanted = asked if asked in there else WORDS.get(asked.lower(), asked)
    _check(wanted, there, name, asked)
    return wanted


def _check(wanted: str | None, there: Sequence[str], name: str, asked: str | None = None) -> None:
    if wanted is not None and wanted not in there and WORDS.get(wanted.lower()) not in there:
        near = get_close_matches(wanted, there, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"{name} has no split {asked or wanted!r}; its splits are: {', '.join(there)}{hint}")


def _word_of(path: PurePath) -> str | None:
    """The split that a word of the file's name, or of the nearest folder that has one, stands for."""
    for part in (_stem(path), *reversed(path.parts[:-1])):
        if word := _word_in(part):
            return word
    return None


def _word_in(part: str) -> str | None:
    return next((WORDS[word] for word in SEPARATORS.split(part.lower()) if word in WORDS), None)


def _part(path: PurePath, depth: int) -> str:
    """The name of a folder, or of the file without its endings; empty where that names no split."""
    if depth < len(path.parts) - 1:
        return path.parts[depth]
    endings = {suffix.lower() for suffix in path.suffixes[-2:]}  # the last may be a compression's
    return "" if endings & NAMED_BY_CONTENT else _stem(path)


def _stem(path: PurePath) -> str:
    """The name without its endings (`.jsonl.gz`)."""
    stem = Path(path.name)
    while stem.suffix.lower() in ENDINGS:
        stem = stem.with_suffix("")
    return stem.name


def names_split(folder: str) -> bool:
    """Whether a folder's name is a split, or has a word for one."""
    return _word_in(folder) is not None


ENDINGS = set(
    ".gz .bz2 .xz .zst .parquet .arrow .feather .jsonl .ndjson .json .csv .tsv .txt .md .rst .py .png .jpg .jpeg .bmp "
    ".webp .gif .tif .tiff".split()
)
