"""What an ext4 disk holds when the power goes (nothing that was not flushed), and then the same command again.

A stage works on a file system in a file. At its n-th touch it is stopped and that file copied as it is: what is in the
page cache alone is lost. Mounting the copy replays its journal, and the command runs there again: it must finish with
the same files, as when nothing had happened. Needs root, to mount; without, nothing is tried and the report says so.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

from tests.reliability import forked
from tests.reliability.ground import Ground, Report, tree

CUT = ("prepare", "train", "featurize", "score", "index", "select", "run")
# The last is the harshest: a rename does not flush what it names.
MODES = ("data=ordered", "data=writeback", "data=ordered,nodelalloc", "data=writeback,noauto_da_alloc")
SIZE = 48 * 2**20
FAST = {"count": 2, "stages": ("prepare",)}


def can_mount() -> bool:
    """Whether file systems in files can be mounted here."""
    return os.geteuid() == 0 and all(map(shutil.which, ("mkfs.ext4", "mount"))) and Path("/dev/loop-control").exists()


def check(ground: Ground, *, count: int, seed: int, stages: tuple[str, ...] = CUT) -> Report:
    """`count` cuts, spread evenly over the stages; the first of each is just before it is done."""
    draw, report = random.Random(seed), Report("power_cuts")
    if not can_mount():
        report.notes["nothing tried"] = "needs root, mkfs.ext4 and loop devices"
        return report
    disk = _Disk(ground.fresh("power"))
    for number, name in enumerate(stages):
        share = (number + 1) * count // len(stages) - number * count // len(stages)
        if share:
            _cut(ground, name, disk, draw, report, share)
    return report


class _Disk:
    """A file system in a file, and what of it outlives a cut."""

    def __init__(self, work: Path) -> None:
        self.work, self.image, self.copy, self.place = work, work / "image", work / "copy", work / "place"
        self.place.mkdir()

    def new(self, mode: str) -> None:
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-F", self.image)
        _run("mount", "-o", f"loop,{mode}", self.image, self.place)

    def cut(self) -> None:
        """Keep what is on the disk now; the file system goes on until `after`."""
        shutil.copyfile(self.image, self.copy)

    def after(self) -> None:
        """Mount what was kept."""
        self.remove()
        _run("mount", "-o", "loop", self.copy, self.place)

    def remove(self) -> None:
        _run("umount", self.place)


def _cut(ground: Ground, name: str, disk: _Disk, draw: random.Random, report: Report, count: int) -> None:
    ground.finish_for(name)
    before = forked.eager if name in ("train", "run") else None
    whole = disk.work / "whole" / "o"  # as deep as on the disk: a study that replays names its sources from there
    code, _, err, _, touches = forked.run(ground.stage(name, whole), whole, count_in=whole, before=before)
    if code != 0:
        raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
    wanted = tree(whole)
    shutil.rmtree(whole)
    for number in range(count):
        stop, mode = draw.randrange(1, touches + 1), draw.choice(MODES)
        stop = touches if number == 0 else stop
        disk.new(mode)
        try:
            out, folder = disk.place / "o", disk.work / "cwd"
            out.mkdir()
            _run("sync", "-f", disk.place)
            child = forked.spawn(ground.stage(name, out), folder, stop_at=stop, count_in=out, before=before)
            child.until_stopped()
            disk.cut()
            child.kill()
            child.wait()
            disk.after()
            out.mkdir(exist_ok=True)
            code, _, err, *_ = forked.run(ground.stage(name, out), folder, before=before)
            report.add_repeated(f"{name} at touch {stop} of {touches} ({mode})", code, err, out, wanted)
        finally:
            disk.remove()


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
