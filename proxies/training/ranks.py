"""The processes that train one model together, as `torchrun` started them; a process on its own is the first of one."""

import atexit
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from thresher.devices import pick_device
from thresher.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together, and the device that is its own."""

    device: torch.device
    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which alone reads and writes artefacts."""
        return self.index == 0

    def share(self, value: Any = None) -> Any:
        """The `value` that the first process gave, in all of them."""
        if self.count == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, src=0, device=self.device)
        return holder[0]

    def sum(self, value: Tensor) -> Tensor:
        """Sum `value` over the processes, in place."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, wrapped so that its backward pass averages gradients over the processes."""
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)

    def part(self, size: int) -> tuple[int, int]:
        """Where this process's share of a batch of `size` examples starts and stops."""
        return size * self.index // self.count, size * (self.index + 1) // self.count


def join(device: str) -> Ranks:
    """The place of this process under `torchrun`; the first call connects it with the others.

    They talk by gloo between CPUs and by nccl between GPUs, of which each process takes the one of its local rank.
    Raises InputError where there are fewer GPUs than processes, and on devices that cannot be shared.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    own_device = pick_device(device)
    if count == 1:
        return Ranks(own_device)
    if own_device.type == "cuda":
        number = int(os.environ.get("LOCAL_RANK", "0"))
        if number >= torch.cuda.device_count():
            raise InputError(
                f"process {number} of this machine has no GPU: there are {torch.cuda.device_count()}; "
                "start as many with --nproc-per-node"
            )
        own_device = torch.device("cuda", number)
        torch.cuda.set_device(own_device)
    elif own_device.type != "cpu":
        raise InputError(
            f"several processes cannot train together on {own_device.type}; pass --device cpu, or start one"
        )
    if not dist.is_initialized():
        dist.init_process_group("nccl" if own_device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return Ranks(own_device, dist.get_rank(), dist.get_world_size())
