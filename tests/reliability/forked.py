"""A warm process that runs commands in forked children: a command costs what its work costs, not the imports.

A child may be told to die (or stop) at its n-th touch of a file below a folder: every open, rename, mkdir, remove and
fsync that Python makes there is a moment to die at, as in the crash tests of SQLite.

The process that forks must have run no threads of OpenMP or Tokenizers: `python -m tests.reliability` allows one.
"""

import contextlib
import importlib
import os
import pkgutil
import signal
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from time import monotonic, sleep

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}
# Seconds after which a command counts as stuck: far beyond what one takes on a busy machine.
PATIENCE = 900.0
# What a command may load besides its own module.
ALSO = (
    "thresher.attribution.scoring.dual",
    "thresher.attribution.scoring.direction",
    "thresher.attribution.scoring.traker_backend",
    "thresher.proxies.training.stacked",
    "transformers.models.gpt2.modeling_gpt2",
    "faiss",
    "sklearn.ensemble",
)


@cache
def warm() -> None:
    """Load everything a command may load."""
    import thresher.cli

    for module in pkgutil.walk_packages(thresher.cli.__path__, "thresher.cli."):
        importlib.import_module(module.name)
    for name in ALSO:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def run(arguments, folder: Path, *, timeout: float = PATIENCE, **options) -> tuple[int | str, str, str, float, int]:
    """Exit status, stdout, stderr, seconds, touches; a status below 0 is a signal, "stuck" one that did not end."""
    return spawn(arguments, folder, **options).wait(timeout)


def spawn(
    arguments,
    folder: Path,
    *,
    die_at: int | None = None,
    stop_at: int | None = None,
    count_in: Path | None = None,
    before: Callable[[], None] | None = None,
    quiet: bool = True,
) -> "Child":
    """A child that runs the command in `folder` and kills (stops) itself at its touch number `die_at` (`stop_at`).

    Touches are of files below `count_in`. `before` is called in the child before the command.
    `quiet`: without lines about progress, so that what is on stderr is a warning or why the command ended.
    """
    arguments = [*arguments, "--quiet"] if quiet else arguments
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    Child.number += 1
    child = Child([folder.parent / f".{folder.name}.{Child.number}.{what}" for what in ("stdout", "stderr", "touches")])
    child.pid = os.fork()
    if child.pid == 0:
        os._exit(_in_child(arguments, folder, child.files, die_at, stop_at, count_in, before))
    return child


def eager() -> None:
    """Keep a training's state after every step, where commands do so every 30 seconds; for `before`."""
    from thresher.proxies.training import train

    assert train.__kwdefaults__ is not None
    train.__kwdefaults__["checkpoint_every_seconds"] = 0.0


class Child:
    """A command that runs in a forked process."""

    number = 0

    def __init__(self, files: list[Path]) -> None:
        self.files, self.begun, self.pid = files, monotonic(), 0
        self.status: int | None = None

    def until_stopped(self, timeout: float = PATIENCE) -> bool:
        """Whether it stopped itself; False: it ended."""
        return self._poll(timeout, os.WUNTRACED) == "stopped"

    def go_on(self) -> None:
        """Let a stopped one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it, and all that it started, where it stands."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = PATIENCE) -> tuple[int | str, str, str, float, int]:
        """As `run` returns; kills one that does not end."""
        code = self._poll(timeout, 0)
        if code == "stuck":
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        # A child that is killed at once has opened neither.
        out, err = (path.read_text(errors="replace") if path.exists() else "" for path in self.files[:2])
        touches = int(self.files[2].read_text()) if self.files[2].exists() else 0
        for path in self.files:
            path.unlink(missing_ok=True)
        return code, out, err, monotonic() - self.begun, touches

    def _poll(self, timeout: float, options: int) -> int | str:
        end = monotonic() + timeout
        while self.status is None and monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG | options)
            if done and os.WIFSTOPPED(status):
                return "stopped"
            if done:
                self.status = os.waitstatus_to_exitcode(status)
            else:
                sleep(0.005)
        return "stuck" if self.status is None else self.status


def _in_child(arguments, folder: Path, files: list[Path], die_at, stop_at, count_in, before) -> int:
    sys.modules["__main__"] = types.ModuleType("__main__")  # workers that it spawns would import the program again
    os.setsid()
    os.chdir(folder)
    for number, path in enumerate(["/dev/null", *files[:2]]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    touches, code = [0], 1
    if count_in is not None:
        _count(str(count_in), touches, {die_at: signal.SIGKILL, stop_at: signal.SIGSTOP})
    try:
        if before:
            before()
        from thresher.cli.main import main

        code = main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    files[2].write_text(str(touches[0]))
    return code


def _count(folder: str, touches: list[int], signals: Mapping[int | None, signal.Signals]) -> None:
    def touched(path: str) -> None:
        if path.startswith(folder):
            touches[0] += 1
            if touches[0] in signals:
                os.kill(os.getpid(), signals[touches[0]])

    def hook(event: str, arguments: tuple) -> None:
        if event in EVENTS and isinstance(arguments[0], str | os.PathLike):
            touched(_whole(os.fspath(arguments[0]), arguments[-1]))

    fsync = os.fsync

    def counted_fsync(file) -> None:
        number = file if isinstance(file, int) else file.fileno()
        touched(os.readlink(f"/proc/self/fd/{number}"))
        fsync(file)

    os.fsync = counted_fsync
    sys.addaudithook(hook)


def _whole(path: str, folder: object) -> str:
    """The path with the folder that it is relative to, where that is an open one (as in shutil.rmtree)."""
    if os.path.isabs(path) or type(folder) is not int or folder < 0:
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    except OSError:
        return path
