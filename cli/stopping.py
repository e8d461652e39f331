"""Ctrl-C, SIGTERM and SIGHUP: one line and status 128 + the signal's number, at whatever moment they come.

Everything on disk can be resumed at every moment, so the worst that a stop may do is to end the process at once. While
a command works, the signal is first raised as `Stopped`, so that files half written and the bar are cleared away; a
second signal, or five seconds, end what is not done by then: a long computation in one call, or a library that caught
the exception.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from thresher.cli.telling import note

# Unwinding takes this long at most.
GRACE_SECONDS = 5.0
LINES = {"SIGINT": "interrupted"}
SHOW_CURSOR = "\x1b[?25h"


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end."""


class Stopping:
    """Whether a signal came, and what follows from it."""

    def __init__(self) -> None:
        self.can_unwind = False
        """Whether a signal is raised where it arrives. Before a command works, nothing needs to be cleared away."""
        self._number, self._is_said, self._turn = 0, False, threading.Lock()

    @property
    def status(self) -> int:
        """The exit status of a stopped command."""
        return 128 + (self._number or signal.SIGINT)

    @contextlib.contextmanager
    def unwinding(self) -> Iterator[None]:
        """Inside, a command works: a signal is raised where it arrives, and ends the block."""
        self.can_unwind = True
        try:
            yield
        finally:
            self.can_unwind = False

    def say(self) -> None:
        """Tell a person on stderr, once."""
        with self._turn:
            if not self._is_said:
                self._is_said = True
                name = signal.Signals(self._number or signal.SIGINT).name
                line = LINES.get(name, f"stopped by {name}")
                note(line)
                cursor = SHOW_CURSOR if _is_terminal() else ""
                with contextlib.suppress(OSError):
                    os.write(2, f"{cursor}thresher: {line}; run the same command again to resume\n".encode())

    def end_now(self) -> None:
        """Say it and end this process, whatever it is doing; its workers end with it."""
        self.say()
        os._exit(self.status)

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler, in the main thread."""
        self._number = self._number or number
        if not self.can_unwind:
            self.end_now()
        self.can_unwind = False
        raise Stopped

    def watch(self, reader: int) -> None:
        """End this process at the second signal, or when the first is not done with in time. A thread of its own."""
        deadline = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            numbers = os.read(reader, 64) if select.select([reader], [], [], left)[0] else None
            if numbers == b"":  # no command works any more
                return
            for number in numbers or []:
                if number in _signals():
                    self._number = self._number or number
                    if deadline is not None:
                        self.end_now()
                    deadline = time.monotonic() + GRACE_SECONDS
            if numbers is None:
                self.end_now()


@contextlib.contextmanager
def stopping(*, is_program: bool) -> Iterator[Stopping]:
    """Inside, signals end the command as this module says. One that was ignored, as by nohup, stays ignored.

    Afterwards they mean what they did; where the process has nothing else to do (`is_program`), a Ctrl-C while the
    interpreter takes itself apart changes nothing any more.
    """
    state = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = {number: signal.getsignal(number) for number in _signals()}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda lost: state.end_now() if lost.exc_type is Stopped else unraisable(lost)
    watching = threading.Thread(target=state.watch, args=(reader,), daemon=True)
    try:
        for number in taken:
            signal.signal(number, state.arrived)
        watching.start()
        yield state
    finally:
        for number in taken:
            is_over = is_program and number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if is_over else before[number])
        signal.set_wakeup_fd(wakeup)
        sys.unraisablehook = unraisable
        os.close(writer)
        watching.join()
        os.close(reader)


def _signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _is_terminal() -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(2)
    return False
