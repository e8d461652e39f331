"""Random parts of a source that do not depend on its order: each item falls by a hash of what it holds."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

from thresher.errors import InputError


@runtime_checkable
class HasContent(Protocol):
    """What a part of a source is drawn from."""

    @property
    def content(self) -> bytes:
        """What makes two items the same."""
        ...


T = TypeVar("T", bound=HasContent)


def content_of(text: str) -> bytes:
    """What makes two texts the same, for `part_of`: case, white space and Unicode form make no difference."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")


def check_part(low: float | int, high: float | int) -> None:
    """Refuse an interval that holds nothing, or more than everything."""
    if not 0 <= low < high <= 1:
        raise InputError(f"the part [{low}, {high}) is empty or outside [0, 1]; pass 0 <= low < high <= 1")


def part_of(items: Iterable[T], low: float | int, high: float | int, *, seed: int) -> Iterator[T]:
    """The items whose content hashes into [low, high) of [0, 1), in order.

    Parts of disjoint intervals share nothing, not even copies under other ids. Raises InputError as `check_part` does.
    """
    check_part(low, high)
    for item in items:
        if low <= place_of(item.content, seed=seed) < high:
            yield item


def place_of(content: bytes, *, seed: int) -> float:
    """Where in [0, 1) `content` falls, the same in every process and version."""
    digest = hashlib.sha256(b"%d/part/" % seed + content).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / 2**53
