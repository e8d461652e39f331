"""What long work reports. The library never draws: the command line draws one bar, for a person."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """A piece of work; inside, call the yielded function with how many of `total` units were just done."""
        ...


class Silent:
    """Reports to nobody: the default everywhere."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        return nullcontext(lambda done: None)


SILENT = Silent()


def track(items: Iterable[T], label: str, total: int | None, progress: Progress = SILENT) -> Iterator[T]:
    """Yield `items`, reporting each one as done when the next is asked for."""
    with progress.task(label, total) as advance:
        for item in items:
            yield item
            advance(1)
