"""Who may write an artefact: a lock that holds on one machine, and a sign of life for those on others.

`.NAME.lock` beside the artefact is locked by the system (`flock`): processes of one machine are kept apart, and a lock
ends with its process, however that ends. Network file systems pass such locks on only if they are mounted so. So the
file also says who holds it and counts up every few seconds. Who gets the system's lock and finds the name of another
machine there waits whether the count moves: if so, the other is alive and the claim refused; if not, that machine died
and the claim is taken over. Only counts are compared, never times, so clocks may be wrong or jump. A holder that finds
its name gone from the file (somebody removed it, or took over while this process was stopped) publishes nothing.

Where two machines claim at once what the system does not lock between them, the last name written wins, which is looked
at after `SETTLE_SECONDS`, only on file systems that are known to lock within a machine alone.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thresher.artifacts.mounts import locks_reach_others
from thresher.errors import InputError

BEAT_SECONDS = 2.0
# Beats that may be missed, as by a network that hangs, before the holder counts as dead.
BEATS_MISSED = 5
SETTLE_SECONDS = 1.0
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
logger = logging.getLogger(__name__)


def lock_of(path: Path) -> Path:
    """The lock file of the artefact at `path`."""
    return path.parent / f".{path.name}.lock"


@contextmanager
def claimed(path: Path) -> Iterator["Claim"]:
    """Hold the claim on the artefact at `path`; raises InputError while another process holds it."""
    claim = Claim(lock_of(path))
    try:
        yield claim
    finally:
        claim.release()


class Claim:
    """A claim that is held, with a thread that shows that this process lives."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.descriptor = _locked(file)
        try:
            self._wait_for_others()
            self.token, self.beats = secrets.token_hex(8), 0
            self._write_first()
            if not locks_reach_others(file.parent):
                time.sleep(SETTLE_SECONDS)
                self.check()
        except BaseException:
            os.close(self.descriptor)
            raise
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise InputError if the claim was lost."""
        if not self._is_ours():
            raise InputError(
                f"{self.file} was removed or taken over while this process wrote; another may be writing: wait for it, "
                "then run the same command again"
            )

    def release(self) -> None:
        """Give the claim back; the file goes first, while the lock keeps others out."""
        self._ended.set()
        self._thread.join()
        try:
            if self._is_ours():
                self.file.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)

    def _wait_for_others(self) -> None:
        holder = _read(self.file)
        if holder is None or holder.get("machine") == _machine():
            return  # a process of this machine would hold the system's lock
        for _ in range(BEATS_MISSED):
            time.sleep(BEAT_SECONDS)
            if (now := _read(self.file)) != holder:
                where = (now or holder).get("host")
                raise InputError(f"a process on {where} is writing beside {self.file}; wait for it, or stop it")
        logger.warning("%s was left by a process on %s that shows no life; going on", self.file, holder.get("host"))

    def _is_ours(self) -> bool:
        holder = _read(self.file)
        return holder is not None and holder.get("token") == self.token

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                if not self._is_ours():
                    return
                self._write()
            except OSError:  # a network that hangs, a disk that is full: the next beat may get through
                continue

    def _write_first(self) -> None:
        try:
            self._write()
        except OSError as error:  # such as a full disk
            self.file.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self.file)) from None

    def _write(self) -> None:
        record = {"machine": _machine(), "host": platform.node(), "pid": os.getpid(), "token": self.token}
        text = json.dumps(record | {"beats": self.beats})
        self.beats += 1
        os.pwrite(self.descriptor, text.encode().ljust(400), 0)


def _locked(file: Path) -> int:
    """A descriptor of the file under that name, locked."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, file):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise InputError(f"another process is writing beside {file}; wait for it, or stop it") from None
            if error.errno in NO_LOCKS:
                raise InputError(
                    f"{file.parent} is on a file system without locks ({error.strerror}), where two processes could "
                    "write at once; give a place on another disk and copy the result"
                ) from None
            raise
        os.close(descriptor)  # removed by whoever held it before


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _read(file: Path) -> dict | None:
    """What a lock file says, opened anew, since only an opening asks a file server; None if nothing that is known."""
    try:
        holder = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _machine() -> str:
    """What one running system has for itself: containers of one machine share it, its next start has another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
