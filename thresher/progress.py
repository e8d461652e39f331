"""What long work reports. The library never draws: the command line draws one bar, for a person."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Progress(Protocol):
    """What is told how far a piece of work has come."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a piece of work of `total` units (None: not known); inside, call the function with those just done."""
        ...


class Silent:
    """A progress that reports to nobody: the default everywhere."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a piece of work that nobody hears of."""
        return nullcontext(lambda done: None)


SILENT = Silent()


def track(items: Iterable[T], label: str, total: int | None, progress: Progress = SILENT) -> Iterator[T]:
    """Yield `items`, reporting each one as done when the next is asked for."""
    with progress.task(label, total) as advance:
        for item in items:
            yield item
            advance(1)
