"""What a worker process runs: jobs as they arrive, until the process that started it closes the channel or ends.

Nothing heavy is imported here, so that a new worker watches over its parent before it loads the jobs' libraries.
"""

import contextlib
import copy
import ctypes
import os
import signal
import sys
import threading
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# Of linux/prctl.h.
PR_SET_PDEATHSIG = 1


def serve(channel: Connection, parent_lives_as_thread: bool) -> None:
    """Answer each (work, job) that arrives at `channel` with (True, `work(job)`), or with (False, what it raised).

    parent_lives_as_thread: whether the thread that started this process lives as long as its process.
    """
    # Ctrl-C reaches every process of a terminal; the one that started us says what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(parent_lives_as_thread)
    _be_ended_first()
    os.environ["OMP_NUM_THREADS"] = "1"  # a process a core, each on one thread
    sys.stdout = sys.stderr  # stdout is for the result alone
    with contextlib.suppress(OSError):  # nobody listens any more
        while (answer := _answer(channel)) is not None:
            try:
                channel.send(answer)
            except Exception as error:  # a result that cannot be sent
                channel.send((False, _sendable(error)))


def _answer(channel: Connection) -> tuple[bool, Any] | None:
    """What the next job gives; None where none comes."""
    try:
        work, job = channel.recv()
    except EOFError:
        return None
    except Exception as error:  # such as a module that cannot be imported here
        return False, _sendable(error)
    try:
        if "torch" in sys.modules:  # what the job needs is loaded by now; OpenMP may have been before its variable
            sys.modules["torch"].set_num_threads(1)
        return True, work(job)
    except BaseException as error:
        return False, _sendable(error)


def _sendable(error: BaseException) -> BaseException:
    """The error with its traceback as a note; where it cannot be made again elsewhere, its words."""
    said = "in a worker process:\n" + "".join(traceback.format_exception(error))
    try:
        sent = copy.copy(error)  # as the receiver will make it
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(said)
    return sent


def _be_ended_first() -> None:
    """Where memory runs out the system should end a worker, whose job is begun again, and not the process it is for."""
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("500")


def _end_with_parent(parent_lives_as_thread: bool) -> None:
    if sys.platform == "linux" and parent_lives_as_thread:
        # Also in the middle of a long computation; but the system sends it when the *thread* that started us ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
