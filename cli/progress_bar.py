"""How far the work has come: a bar on a terminal; elsewhere, and in a log, a line a stage and now and then one more."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from thresher.cli.telling import note, say
from thresher.progress import SILENT, STAGE, Progress
from thresher.shown import duration, shown

EVERY_SECONDS = 30.0
"""Between two lines about work that goes on."""
AT_ONCE = 0.1
"""Seconds: what is reported as done earlier than this was there already, and says nothing about the speed."""


def progress_for(*, quiet: bool, verbose: bool = False, log: bool = False) -> Progress:
    """Who hears of the work: a bar on a terminal (with `verbose` lines), elsewhere lines; with `log` the log too."""
    if not quiet and (verbose or not _is_terminal()):
        return Lines(say, verbose=verbose)  # what is said is in the log too
    heard: list[Progress] = [] if quiet else [Bar()]
    if log:
        heard.append(Lines(note, verbose=verbose))
    return heard[0] if len(heard) == 1 else Several(heard) if heard else SILENT


def _exactly(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


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


class Several:
    """A progress that tells several."""

    def __init__(self, heard: list[Progress]) -> None:
        self.heard = heard

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        with ExitStack() as stack:
            advances = [stack.enter_context(progress.task(label, total)) for progress in self.heard]

            def advance_all(done: int) -> None:
                for advance in advances:
                    advance(done)

            yield advance_all


@dataclass(eq=False)
class _Task:
    label: str
    total: int | None
    begun: float
    done: int = 0
    found: int = 0
    """Of `done`, what was there already."""

    @property
    def place(self) -> str:
        """Its name, and at which of its units it is."""
        return f"{self.label} {min(self.done + 1, self.total)} of {self.total}" if self.total else self.label


class Lines:
    """A line when a stage begins; of long ones a line now and then, with the share done and the time left.

    A stage is what is not part of other work, except of a whole that is counted in stages (`thresher.progress.staged`).
    verbose: a line for every piece of work, when it begins and when it ends.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        every: float = EVERY_SECONDS,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._every, self._verbose, self._clock = say, every, verbose, clock
        self._open: list[_Task] = []
        self._said = clock()
        self._last_stage = ""

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        task = _Task(shown(label), total, self._clock())
        is_stage = all(around.label == STAGE for around in self._open) and label != STAGE
        self._open.append(task)
        self._begin(task, is_stage)

        def advance(done: int) -> None:
            task.done += done
            if self._clock() - task.begun < AT_ONCE:
                task.found += done
            if self._is_due():
                self._tell(self._so_far())

        try:
            yield advance
            seconds = self._clock() - task.begun
            if label != STAGE and (self._verbose or (is_stage and seconds >= self._every)):
                self._tell(f"{self._around(task)}{task.label}: done in {_exactly(seconds)}")
        finally:
            self._open.remove(task)

    def _begin(self, task: _Task, is_stage: bool) -> None:
        line = f"{self._around(task)}{task.label}"
        # The same small work over and over, such as measuring one model after another, is one stage.
        if (is_stage and line != self._last_stage) or self._is_due() or (self._verbose and task.label != STAGE):
            self._tell(line)
        if is_stage:
            self._last_stage = line

    def _is_due(self) -> bool:
        return self._clock() - self._said >= self._every

    def _tell(self, line: str) -> None:
        self._said = self._clock()
        self._say(line)

    def _around(self, task: _Task) -> str:
        """Where a task lies: the names and places of what it is part of."""
        place = self._open.index(task)
        return "".join(f"{around.place}: " for around in self._open[:place])

    def _so_far(self) -> str:
        inner = self._open[-1]
        where = f"{self._around(inner)}{inner.label}"
        if not inner.total:
            return f"{where}, {inner.done:,} done after {duration(self._clock() - inner.begun)}"
        line = f"{where}, {inner.done:,} of {inner.total:,} ({inner.done / inner.total:.0%})"
        left = self._left()
        return line if left is None else f"{line}, about {duration(left)} left"

    def _left(self) -> float | None:
        """Seconds until the outermost counted work is done, as fast as it went so far; stages are of unequal length."""
        counted = [task for task in self._open if task.label != STAGE and task.total]
        inner = 0.0
        for task in reversed(counted[1:]):
            inner = min(1.0, (task.done + inner) / (task.total or 1))
        if not counted:
            return None
        outer = counted[0]
        done, left = outer.done - outer.found + inner, (outer.total or 0) - outer.done - inner
        return (self._clock() - outer.begun) * left / done if done > 0 and left >= 0 else None
