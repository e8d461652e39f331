"""Random parts of a source that do not depend on its order: each item falls by a hash of its id."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from thresher.seeds import derive


class HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


def part_of(items: Iterable[T], low: float, high: float, *, seed: int) -> Iterator[T]:
    """The items whose id hashes into [low, high) of [0, 1): parts of disjoint intervals share nothing."""
    for item in items:
        if low <= derive(seed, "part", item.id) / 2**63 < high:
            yield item
