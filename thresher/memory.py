"""Memory as it is said before work begins: what this process has, and what a backward pass keeps."""

import os
import sys
from pathlib import Path

from torch import Tensor


class Held:
    """Bytes of what is kept for the backward pass; `keep` packs for `torch.autograd.graph.saved_tensors_hooks`."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor, once however often its storage is kept."""
        self._sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    @property
    def bytes(self) -> int:
        """Of all that was kept."""
        return sum(self._sizes.values())


STILL_TO_LOAD = 4.5e8
"""Of libraries that are loaded, and memory that they set aside, when they are first used."""

FRESH = 8e8
"""What a process that was begun for a job has, beside what the job holds."""


def of_process() -> float:
    """Bytes of memory that this process has once it works, beside what its work holds."""
    return resident() + STILL_TO_LOAD


def resident() -> float:
    """Bytes of memory that this process has now; where the system does not say, the most it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most * (1.0 if sys.platform == "darwin" else 1024.0)
