"""Full disks, read-only places, few open files, little memory, in every stage; then the same command with room.

Right is status 2 and one line, or that the limit was no hindrance; and the same command with room ends with every file
the same as an undisturbed run's. Needs Linux; limits of the disk are mounted, for which it must be root.
"""

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reliability import forked
from tests.reliability.ground import STAGES, Ground, Report, differing, leftovers, not_one_line, run, tree

FAST = {"count": 8, "stages": ("prepare", "target"), "kinds": ("full:0.3", "large:5000", "files:16", "memory:32")}
PAGE = 4096
MIB = 2**20
ALL = STAGES | {
    "transfer": "study transfer --pool {b}/pool --test-sets t={b}/tgt --recipes a=domain:s0 b=domain:s1 c=domain:s2"
    " --sizes 20K 40K --examples 100 --seeds 1 --workers 1 --out {o}/transfer",
}
# What is said of a limit, in part.
SAID = {
    "full": "No space",
    "inodes": "No space",
    "read-only": "Read-only",
    "large": "File too large",
    "files": "ulimit",
}
# A limit of the disk is mounted (`full:0.3` holds that share of what the stage writes), others are of the process.
MOUNTED = ("full:0.02", "full:0.3", "full:0.6", "full:0.9", "full:0.99", "inodes:6", "read-only:1")
OF_A_PROCESS = ("large:5000", "files:16", "files:64", "memory:4", "memory:32", "memory:128")
# Of the surroundings: the stage starts cold, because libraries look at them as they are imported.
OF_SURROUNDINGS = ("home:none", "home:unwritable", "temporary:unwritable", "shared:none")
COLD = {
    "cold-prepare": STAGES["prepare"],
    "cold-run": STAGES["run"],
    "cold-workers": STAGES["validate"].replace("--workers 1", "--workers 2"),
}
NO_SHARED_MEMORY = ("unshare", "-m", "sh", "-c", 'umount -l /dev/shm && exec "$@"', "sh")


def check(
    ground: Ground, *, count: int, seed: int, stages: tuple[str, ...] = (*ALL, *COLD), kinds: tuple[str, ...] = ()
) -> Report:
    """`count` cases, or all where there are fewer, drawn from every limit (or these `kinds`) in every stage."""
    ground.finish_for(*stages)
    report, work = Report("limits"), ground.fresh("limits")
    (work / "cwd").mkdir()
    is_root = os.geteuid() == 0 and shutil.which("mount") is not None
    if not is_root:
        report.notes["left out"] = "limits that are mounted: only root may"
    possible = [
        (name, kind)
        for name in stages
        for kind in (OF_SURROUNDINGS if name in COLD else (*MOUNTED, *OF_A_PROCESS))
        if (is_root or kind not in (*MOUNTED, "shared:none")) and (not kinds or kind in kinds)
    ]
    drawn = set(random.Random(seed).sample(possible, min(count, len(possible))))
    wanted: dict[str, tuple[dict, int]] = {}
    for name, kind in [case for case in possible if case in drawn]:
        if name not in wanted:
            wanted[name] = _undisturbed(ground, name, work / "whole" / name)
        _try(ground, report, name, kind, *wanted[name])
    shutil.rmtree(work)
    return report


def _undisturbed(ground: Ground, name: str, whole: Path) -> tuple[dict, int]:
    """The files that the stage writes, and the room they take."""
    code, _, err, *_ = forked.run(_line(ground, name, whole), whole.parent / "cwd", timeout=1200)
    if code != 0:
        raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
    files = [path for path in whole.rglob("*") if path.is_file()]
    return tree(whole), sum(-(-file.stat().st_size // PAGE) * PAGE for file in files)


def _try(ground: Ground, report: Report, name: str, kind: str, wanted: dict, room: int) -> None:
    limit, _, amount = kind.partition(":")
    cwd, where = ground.root / "limits" / "cwd", f"{name} under {kind}"
    with _place(ground.fresh("limits/place"), limit, amount, room) as (out, widen):
        if name in COLD:
            code, _, err, _ = run(_line(ground, name, out), cwd, timeout=1200, **_surroundings(limit, amount))
        else:
            code, _, err, *_ = forked.run(_line(ground, name, out), cwd, timeout=600, before=_rlimit(limit, amount))
        wrong = "" if code == 0 else not_one_line(code, err)
        if code == 2 and not wrong and SAID.get(limit, "") not in err:
            wrong = "does not say what"
        if code == 0 and (limit == "read-only" or (name in COLD and "Traceback" in err)):
            wrong = "not said"
        if wrong:
            report.add(wrong, f"{where}: {wrong}: {_end(err)}")
            return
        widen()
        second, _, err, *_ = forked.run(_line(ground, name, out), cwd, timeout=600)
        if second != 0:
            report.add("lost", f"{where}: with room it ends with {second}: {_end(err)}")
        elif others := differing(wanted, tree(out)):
            report.add("differing", f"{where}: differing {others[:4]}")
        elif hidden := leftovers(out):
            report.add("left over", f"{where}: left over {hidden[:4]}")
        else:
            report.add("no hindrance" if code == 0 else "refused, then resumed")


def _line(ground: Ground, name: str, out: Path) -> list[str]:
    return ground.line((ALL | COLD)[name], out)


@contextmanager
def _place(place: Path, limit: str, amount: str, room: int) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder to write into, under a limit of the disk where it is one; and what takes that limit away."""
    out, wide = place / "o", f"remount,rw,size={room * 4 + MIB},nr_inodes=100000"
    if f"{limit}:{amount}" not in MOUNTED:
        out.mkdir()
        yield out, lambda: None
        return
    size = f"size={max(PAGE, int(room * float(amount)) // PAGE * PAGE)}" if limit == "full" else "size=64m"
    _mount("-t", "tmpfs", "-o", size + (f",nr_inodes={amount}" if limit == "inodes" else ""), "tmpfs", place)
    try:
        out.mkdir()
        if limit == "read-only":
            _mount("-o", "remount,ro", place)
        yield out, lambda: _mount("-o", wide, place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _rlimit(limit: str, amount: str) -> Callable[[], None] | None:
    """What sets a limit of the process, in the process."""
    which = {"large": resource.RLIMIT_FSIZE, "files": resource.RLIMIT_NOFILE, "memory": resource.RLIMIT_AS}.get(limit)
    if which is None:
        return None

    def set_limit() -> None:
        value = int(amount)
        if limit == "memory":  # beyond what the imports take
            value = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE + value * MIB
        resource.setrlimit(which, (value, value))

    return set_limit


def _surroundings(limit: str, amount: str) -> dict:
    """Options of `run` for a cold process: variables of its environment, or a name space without /dev/shm."""
    if limit == "shared":
        return {"prefix": NO_SHARED_MEMORY}
    variable = {"home": "HOME", "temporary": "TMPDIR"}[limit]
    if amount == "none":
        return {"prefix": ("env", "-u", variable)}
    return {"env": {variable: "/proc/nowhere"}}  # where not even root can write


def _end(err: str) -> str:
    return (err.strip().splitlines() or ["nothing said"])[-1][:300]
