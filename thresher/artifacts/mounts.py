"""What file system a folder is on, and whether it passes locks of the system on to other machines."""

from functools import cache
from pathlib import Path

# Those that every machine sees, and that lock across machines by themselves.
LOCKING = ("nfs", "nfs4", "ceph", "gpfs", "cifs", "smb3", "ocfs2", "gfs2", "lustre")
# Those that other machines may see, and that lock within one (beegfs and fuse: by default).
NOT_LOCKING = ("9p", "virtiofs", "beegfs", "afs", "glusterfs")
# Options that keep the locks of a `LOCKING` one within a machine.
LOCAL_OPTIONS = ("nolock", "local_lock=all", "local_lock=flock", "localflock", "nobrl")
MOUNTS = Path("/proc/self/mounts")


def is_local(folder: Path) -> bool:
    """Whether `folder` is on a disk of this machine, as far as its mounts are known."""
    kind, _ = _mount(str(folder.absolute()))
    return kind not in (*LOCKING, *NOT_LOCKING) and not kind.startswith("fuse.")


def locks_reach_others(folder: Path) -> bool:
    """Whether a lock in `folder` is seen by every machine that sees the folder; True for a disk of this machine."""
    kind, options = _mount(str(folder.absolute()))
    return is_local(folder) or (kind in LOCKING and not any(option in LOCAL_OPTIONS for option in options))


@cache
def _mount(name: str) -> tuple[str, tuple[str, ...]]:
    """The kind and options of the file system that the folder of this name is on; empty where nothing says so."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return "", ()
    folder, longest, found = Path(name).resolve(), -1, ("", ())
    for line in lines:
        _, place, kind, options, *_ = line.split(" ")
        mount = Path(place.replace("\\040", " "))
        if folder.is_relative_to(mount) and len(mount.parts) >= longest:
            longest, found = len(mount.parts), (kind, tuple(options.split(",")))
    return found
