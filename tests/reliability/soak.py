"""A day's use in an hour: studies started, killed, resumed and changed at random, beside a process that lives on.

One hand runs variants of a study into one folder, each in a process of its own, most of which are ended at a random
moment by a random signal. After each, every finished file is the one that an undisturbed run of that variant makes, and
no process is left. Meanwhile a second process goes through the steps of the loop again and again, and its memory, file
descriptors, threads and children are counted. At the end every variant is finished once more: nothing hidden is left.
"""

import os
import random
import shutil
import signal
import statistics
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.reliability import forked
from tests.reliability.ground import STUDY, Ground, Report, is_heeded, leftovers, tree

# What is changed in the study between two runs of it.
CHANGES: tuple[dict[str, str], ...] = (
    {},
    {"k = 32": "k = 48"},
    {"tokens = 6000": "tokens = 4000"},
    {'size = "20K"\ncount = 2': 'size = "20K"\ncount = 1'},
    {"seeds = 2": "seeds = 3", "workers = 1": "workers = 2"},
    {'name = "tiny"': 'name = "tiny"\nseed = 7'},
)
# None: it is left to end.
SIGNALS = (None, None, signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STEPS = ("prepare", "target", "train", "featurize", "score", "index", "select")
# Resident memory may wander by this much between the second fifth of the laps and the last.
WANDERS = 24 * 2**20
# Libraries start the threads of their pools as they need them: Arrow has eight for its files.
POOLS = 8
PAGE = os.sysconf("SC_PAGE_SIZE")


def check(ground: Ground, *, count: int, seed: int, changes: int = len(CHANGES)) -> Report:
    """`count` minutes (`--minutes`) of use of the first `changes` variants of the study."""
    ground.finish("select")
    report, draw, work = Report("soak"), random.Random(seed), ground.fresh("soak")
    studies = [_write(work / f"study-{number}.toml", change, ground) for number, change in enumerate(CHANGES[:changes])]
    wanted = _undisturbed(studies, work)
    long_lived = _LongLived(ground, work / "long-lived")
    end, out = time.monotonic() + 60 * count, work / "shared"
    try:
        while time.monotonic() < end:
            study, number = draw.choice(studies), draw.choice(SIGNALS)
            _use(study, number, draw.uniform(0, 1) ** 2 * wanted.seconds, out, wanted, report)
    finally:
        laps = long_lived.stop()
    for study in studies:
        _use(study, None, 0, out, wanted, report)
    if hidden := leftovers(out):
        report.add("left over", f"after all: left over {hidden[:4]}")
    report.notes |= laps.figures()
    for fault in laps.faults():
        report.add("grows", fault)
    shutil.rmtree(work)
    return report


def _write(file: Path, change: dict[str, str], ground: Ground) -> Path:
    text = STUDY.format(src=ground.base / "src")
    for old, new in change.items():
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    return file


class _Undisturbed:
    """The hashes that each file may have after any of the variants, and the seconds that the longest takes.

    One hash each, except for what the folder keeps of its latest run, such as the study itself.
    """

    def __init__(self) -> None:
        self.hashes: dict[str, set[str]] = {}
        self.seconds = 0.0

    def add(self, files: dict[str, str]) -> None:
        for name, value in files.items():
            self.hashes.setdefault(name, set()).add(value)


def _undisturbed(studies: list[Path], work: Path) -> _Undisturbed:
    wanted = _Undisturbed()
    for study in studies:
        code, _, err, seconds, _ = forked.run(_line(study, work / "whole"), work / "cwd", timeout=1200)
        if code != 0:
            raise RuntimeError(f"the undisturbed {study.name} ends with {code}: {err.strip()[-500:]}")
        wanted.seconds = max(wanted.seconds, seconds)
        wanted.add(tree(work / "whole"))
    return wanted


def _line(study: Path, out: Path) -> list[str]:
    return ["run", str(study), "--out", str(out)]


def _use(study: Path, number: int | None, after: float, out: Path, wanted: _Undisturbed, report: Report) -> None:
    """Run a study, end it by this signal after some seconds (None: let it end), and look at what is there."""
    child = forked.spawn(_line(study, out), out.parent / "cwd")
    stop = threading.Timer(after, _send, (child.pid, number))
    if number is not None:
        stop.start()
    code, _, err, *_ = child.wait(1200)
    stop.cancel()
    what = f"{study.stem} {signal.Signals(number).name if number else 'left to end'}"
    said = [line for line in err.splitlines() if line.strip() and not line.startswith("thresher: warning: ")]
    expected = {0, -signal.SIGKILL if number == signal.SIGKILL else 128 + (number or 0)} if number else {0}
    if code not in expected or len(said) > 1:
        report.add("ends wrongly", f"{what} after {after:.1f} s: status {code}, {len(said)} lines: {said[-1:]}")
        return
    if living := _wait_for_end_of(child.pid):
        report.add("orphans", f"{what} after {after:.1f} s: {living} processes live on")
        return
    files = tree(out) if out.exists() else {}
    finished = {name: value for name, value in files.items() if not any(part[0] == "." for part in Path(name).parts)}
    other = [name for name, value in finished.items() if value not in wanted.hashes.get(name, ())]
    report.add("differing" if other else "as undisturbed", f"{what}: differing {other[:4]}" if other else "")


def _send(pid: int, number: int) -> None:
    end = time.monotonic() + 60
    # Before any line of ours is run, a signal ends the interpreter in its own way.
    while number != signal.SIGKILL and not is_heeded(pid, number) and _living(pid) and time.monotonic() < end:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        (os.kill if number == signal.SIGTERM else os.killpg)(pid, number)


def _wait_for_end_of(session: int, seconds: float = 5) -> int:
    """How many processes of a session still live after so many seconds at most."""
    end = time.monotonic() + seconds
    while (living := _living(session)) and time.monotonic() < end:
        time.sleep(0.05)
    return living


def _living(session: int) -> int:
    count = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                state, _, _, its_session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                count += int(its_session) == session and state != "Z"
    return count


class _LongLived:
    """A process that goes through the steps of the loop, lap after lap, and counts what it holds after each."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.file = folder.with_suffix(".laps")
        self.pid = os.fork()
        if self.pid == 0:
            with suppress(BaseException):
                self._go_on(ground, folder)
            os._exit(1)

    def _go_on(self, ground: Ground, folder: Path) -> None:
        from thresher.cli.main import main

        program = os.getppid()
        os.setsid()
        for number, path in enumerate(["/dev/null", "/dev/null", folder.with_suffix(".stderr")]):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        while os.getppid() == program:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            codes = [main([*ground.stage(name, folder), "--quiet"]) for name in STEPS]
            with open(self.file, "a") as file:
                file.write(" ".join(map(str, (*_held(), max(codes)))) + "\n")

    def stop(self) -> "_Laps":
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        text = self.file.read_text() if self.file.exists() else ""
        return _Laps([tuple(map(int, line.split())) for line in text.splitlines()])


def _held() -> tuple[int, int, int, int]:
    """Bytes of resident memory, file descriptors, threads and children of this process."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    threads, descriptors = os.listdir("/proc/self/task"), os.listdir("/proc/self/fd")
    children = sum(len(Path(f"/proc/self/task/{thread}/children").read_text().split()) for thread in threads)
    return resident, len(descriptors), len(threads), children


class _Laps:
    """What the long-lived process held after each lap."""

    def __init__(self, laps: list[tuple[int, ...]]) -> None:
        self.laps = laps
        fifth = max(1, len(laps) // 5)
        self.early, self.late = laps[fifth : 2 * fifth] or laps[-1:], laps[-fifth:]

    def figures(self) -> dict[str, object]:
        return {
            "laps": len(self.laps),
            "memory in MiB, second fifth and last": [self._median(part, 0) >> 20 for part in (self.early, self.late)],
            "file descriptors": [self._median(part, 1) for part in (self.early, self.late)],
            "threads": [self._median(part, 2) for part in (self.early, self.late)],
        }

    def faults(self) -> list[str]:
        if len(self.laps) < 5:
            return []
        growth = self._median(self.late, 0) - self._median(self.early, 0)
        faults = [f"resident memory grows by {growth >> 20} MiB in {len(self.laps)} laps"] if growth > WANDERS else []
        for column, what, most in ((1, "file descriptors", 0), (2, "threads", POOLS), (3, "children", 0)):
            early, late = self._median(self.early, column), self._median(self.late, column)
            if late > early + most:
                faults.append(f"{what} grow from {early} to {late} in {len(self.laps)} laps")
        failed = sum(lap[4] != 0 for lap in self.laps)
        return faults + ([f"{failed} laps ended with another status than 0"] if failed else [])

    def _median(self, laps: list[tuple[int, ...]], column: int) -> int:
        return int(statistics.median(lap[column] for lap in laps)) if laps else 0
