"""What long work reports. The library never draws: the command line draws one bar, for a person."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


STAGE = "stage"
"""The label of a whole that is counted in stages."""


@contextmanager
def staged(count: int, progress: Progress = SILENT) -> Iterator["Stage"]:
    """Begin a whole of `count` stages; inside, `with stage(label):` is the next of them.

    What hears of it can say "stage 2 of 7: proxies".
    """
    with progress.task(STAGE, count) as advance:
        yield Stage(progress, advance)


class Stage:
    """The stages of a whole, one after another."""

    def __init__(self, progress: Progress, advance: Callable[[int], None]) -> None:
        self._progress, self._advance = progress, advance

    @contextmanager
    def __call__(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """The next stage, of `total` units; inside, call the function with those just done."""
        with self._progress.task(label, total) as done:
            yield done
        self._advance(1)
