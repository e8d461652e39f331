"""Random parts of a source that do not depend on its order: each item falls by a hash of its id."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from thresher.errors import InputError
from thresher.seeds import derive


class HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


def part_of(items: Iterable[T], low: float, high: float, *, seed: int) -> Iterator[T]:
    """The items whose id hashes into [low, high) of [0, 1): parts of disjoint intervals share nothing."""
    if not 0 <= low < high <= 1:
        raise InputError(f"the part [{low}, {high}) is empty or outside [0, 1]; pass 0 <= low < high <= 1")
    for item in items:
        if low <= derive(seed, "part", item.id) / 2**63 < high:
            yield item
