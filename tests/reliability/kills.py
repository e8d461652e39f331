"""Signals at random moments of real processes, then the same command again.

group      SIGKILL to all processes at once, as a machine does that loses its power
main       SIGKILL to the first process alone: its workers must end by themselves
worker     SIGKILL to one worker: its job is begun again, and the command ends as if nothing had been
interrupt  SIGINT to all (Ctrl-C): one line, 130            twice     and again a moment later
terminate  SIGTERM to the first: one line, 143              hangup    SIGHUP to all: one line, 129

Afterwards no process lives on, no shared memory is left, and the same command ends with the bytes of an undisturbed
run and nothing hidden beside them.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from tests.reliability.ground import STAGES, Ground, Report, differing, is_heeded, leftovers, marked, run, start, tree

LINES = STAGES | {
    "fleet": STAGES["validate"].replace("--workers 1", "--workers 2"),
    "transfer": "study transfer --pool {b}/pool --test-sets t={b}/tgt --recipes a=domain:s0 b=domain:s1 c=domain:s2"
    " --sizes 20K 40K --examples 100 --seeds 2 --workers 2 --out {o}/transfer",
    "lds": "lds --pool {b}/tgt --target {b}/tgt --model 20K --subsets 6 --repeats 1 --checkpoints 1 --k 8 --workers 2"
    " --scorers random --out {o}/lds",
}
FLEETS = ("fleet", "transfer", "lds")
KINDS = {
    "group": (signal.SIGKILL, tuple(LINES)),
    "main": (signal.SIGKILL, FLEETS),
    "worker": (signal.SIGKILL, FLEETS),
    "interrupt": (signal.SIGINT, tuple(LINES)),
    "twice": (signal.SIGINT, tuple(LINES)),
    "terminate": (signal.SIGTERM, tuple(LINES)),
    "hangup": (signal.SIGHUP, tuple(LINES)),
}
FAST = {"count": 2, "kinds": ("interrupt", "group"), "lines": ("prepare",)}
SHARED_MEMORY = "/dev/shm/"


def check(
    ground: Ground,
    *,
    count: int,
    seed: int,
    kinds: tuple[str, ...] = tuple(KINDS),
    lines: tuple[str, ...] = tuple(LINES),
) -> Report:
    """`count` signals, of all kinds in turn, each at a drawn moment of a drawn command."""
    ground.finish_for(*lines)
    draw, report, whole = random.Random(seed), Report("kills"), _Whole(ground)
    while report.tried < count:
        kind = kinds[report.tried % len(kinds)]
        name = draw.choice([name for name in KINDS[kind][1] if name in lines])
        wanted, seconds = whole.of(name)
        out = ground.fresh(f"kills/{kind}-{name}")
        outcome, fault = _signal(ground, kind, name, out, seconds, draw)
        if outcome == "too late":
            report.outcomes["too late, not counted"] += 1
            continue
        where = f"{kind} {name}"
        code, _, err, _ = run(ground.line(LINES[name], out), out, timeout=600)
        if code != 0:
            outcome, fault = "lost", f"the second run ends with {code}: {err.strip()[-300:]}"
        elif others := differing(wanted, tree(out)):
            outcome, fault = "differing", f"differing {others[:4]}"
        elif hidden := leftovers(out):
            outcome, fault = "left over", f"left over {hidden[:4]}"
        report.add(outcome, f"{where}: {fault}" if fault else "")
        shutil.rmtree(out)
    return report


class _Whole:
    """Undisturbed runs: their files, and the seconds that they take."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.known = ground, {}

    def of(self, name: str) -> tuple[dict[str, str], float]:
        if name not in self.known:
            out = self.ground.fresh(f"kills/{name}-whole")
            code, _, err, seconds = run(self.ground.line(LINES[name], out), out, timeout=600)
            if code != 0:
                raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
            self.known[name] = tree(out), seconds
        return self.known[name]


def _signal(ground: Ground, kind: str, name: str, out: Path, seconds: float, draw: random.Random) -> tuple[str, str]:
    """Run the command and disturb it; how it came out, and a fault in how it ended."""
    process = start(ground.line(LINES[name], out), out)
    target, number = process.pid, KINDS[kind][0]
    if kind in ("worker", "main"):  # once there are workers
        _wait_until(lambda: bool(_workers(process)) or process.poll() is not None)
        time.sleep(draw.uniform(0, seconds / 2))
        alive = _workers(process)
        if kind == "worker":
            target = draw.choice(alive) if alive else 0
    else:
        if kind != "group":  # before any line of ours is run, a signal ends the interpreter in its own way
            _wait_until(lambda: is_heeded(process.pid, number) or process.poll() is not None)
        time.sleep(draw.uniform(0, seconds))
    if process.poll() is not None or not target:
        process.communicate()
        return "too late", ""
    shared = _shared_memory(process.mark)  # type: ignore[attr-defined]
    everyone = kind in ("group", "interrupt", "twice", "hangup")
    with suppress(ProcessLookupError):
        (os.killpg if everyone else os.kill)(target, number)
        if kind == "twice":
            time.sleep(draw.uniform(0, 0.3))
            os.killpg(target, number)
    try:
        _, err = process.communicate(timeout=600 if kind == "worker" else 120)
    except TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "does not end", "does not end"
    if not _wait_until(lambda: not marked(process.mark), 3.0):
        return "orphans", f"{len(marked(process.mark))} processes live on"
    if left := [file for file in shared if file.exists()]:
        return "shared memory left", f"{len(left)} files of shared memory are left"
    return _judge(kind, process.returncode, err)


def _judge(kind: str, code: int, err: str) -> tuple[str, str]:
    said = [line for line in err.splitlines() if line.strip() and not line.startswith("thresher: warning: ")]
    if kind in ("group", "main"):
        return "killed and resumed", "" if not said else f"{len(said)} lines: {said[:2]}"
    if kind == "worker":
        return "went on", "" if (code, said) == (0, []) else f"status {code}: {said[-2:]}"
    if code == 0 and not said:
        return "done before it arrived", ""
    wanted = 128 + KINDS[kind][0]
    right = code == wanted and len(said) == 1 and said[0].startswith("thresher: ")
    return "stopped and resumed", "" if right else f"status {code}, {len(said)} lines: {said[:1]} .. {said[-1:]}"


def _workers(process: Popen) -> list[int]:
    found = []
    for pid in marked(process.mark):  # type: ignore[attr-defined]
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _wait_until(is_so: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not (so := is_so()) and time.monotonic() < end:
        time.sleep(0.05)
    return so


def _shared_memory(mark: str) -> set[Path]:
    """Files of shared memory that our processes have; others on this machine have some of their own."""
    files = set()
    for pid in marked(mark):
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            files |= {Path(line.split()[-1]) for line in lines if SHARED_MEMORY in line}
    return files
