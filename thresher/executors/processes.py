"""Processes that work together and end together."""

import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

_started: dict[object, ProcessPoolExecutor] = {}
"""The processes of the last call, which the next one finds warm: to start one takes as long as a small training."""


def processes(count: int) -> ProcessPoolExecutor:
    """A pool of `count` processes that see what this one sees now: its folder, path and environment.

    The pool of the last call is given again where it still fits, and shut down where it does not.
    """
    state = (count, os.getcwd(), tuple(sys.path), frozenset(os.environ.items()))
    if state not in _started:
        for pool in _started.values():
            pool.shutdown()
        _started.clear()
        # spawn: a fork of a process that has run torch's threads may hang.
        _started[state] = ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_start, initargs=(os.getpid(),)
        )
    return _started[state]


def forget_processes() -> None:
    """Have the next call of `processes` start new ones, after this pool was shut down."""
    _started.clear()


def _start(parent: int) -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
