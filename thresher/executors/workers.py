"""Where independent work is carried out, and how many pieces of it at once."""

import os

from thresher.choices import EXECUTORS
from thresher.devices import pick_device
from thresher.errors import InputError, unknown


def num_workers(wanted: int | None, device: str, executor: str = "processes") -> int | None:
    """How many jobs are done at once: as many as asked for, else one a core, or one where there is an accelerator.

    None on Ray, which does as many as its cluster can. Raises InputError for a number below 1 and for an executor that
    is none of EXECUTORS.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if wanted is not None and wanted < 1:
        raise InputError(f"workers={wanted}; pass 1 or more")
    if wanted is not None or executor == "ray":
        return wanted
    return 1 if pick_device(device).type != "cpu" else len(os.sched_getaffinity(0))
