"""One progress bar on stderr, drawn only for a person."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thresher.progress import SILENT, Progress
from thresher.shown import shown


def progress_for(quiet: bool) -> Progress:
    """A bar when stderr is a terminal and nobody asked for quiet; else silence."""
    return SILENT if quiet or not sys.stderr.isatty() else Bar()


class Bar:
    """Draws nested tasks as the lines of one live display."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._open = 0

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        from rich.markup import escape

        if self._open == 0:
            self._bar.start()
        self._open += 1
        task = self._bar.add_task(escape(shown(label)), total=total)
        try:
            yield lambda done: self._bar.advance(task, done)
        finally:
            self._bar.remove_task(task)
            self._open -= 1
            if self._open == 0:
                self._bar.stop()
