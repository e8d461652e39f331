"""traker's own projections, drawn once where memory allows and multiplied in float32; and faster ones, by name."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from trak.projectors import AbstractProjector, BasicProjector, NoOpProjector

from thresher.attribution.gradients.projection import Projector, make_projector
from thresher.attribution.traker.rows import rows_of
from thresher.devices import full_float32
from thresher.errors import InputError

# Share of the memory that drawn blocks may fill.
KEPT = 0.25
# Ours that take flattened gradients, as traker hands them out.
SKETCHES = ("sjlt", "mask+sjlt")


class Whole(NoOpProjector):
    """The gradients as they are, on the device where they are."""

    def project(self, grads: Mapping[str, Tensor] | Tensor, model_id: int) -> Tensor:
        """The gradients flattened, an example a row."""
        return rows_of(grads)


class Sketch(AbstractProjector):
    """A sparse sketch: other numbers than traker's, of the same scale, in a fraction of the time; see `projection`."""

    def __init__(self, name: str, grad_dim: int, proj_dim: int, seed: int, device: Any) -> None:
        if name not in SKETCHES:
            raise InputError(
                f"projector {name!r} is unknown; pass one of: {', '.join(SKETCHES)}, or a projector object"
            )
        super().__init__(grad_dim, proj_dim, seed, name, device)
        self._drawn: tuple[int, Projector] | None = None

    def project(self, grads: Mapping[str, Tensor] | Tensor, model_id: int) -> Float[Tensor, "b k"]:
        """Sketch the gradients of a batch, by a sketch of each checkpoint's own."""
        if self._drawn is None or self._drawn[0] != model_id:
            sketch = make_projector(self.proj_type, self.grad_dim, self.proj_dim, seed=self.seed, model_id=model_id)
            self._drawn = model_id, sketch
        # traker's numbers are not divided by sqrt(k).
        return self._drawn[1](rows_of(grads)) * math.sqrt(self.proj_dim)

    def free_memory(self) -> None:
        """Let go of the sketch; the next batch draws it again."""
        self._drawn = None


class Blocks(AbstractProjector):
    """The numbers of traker's BasicProjector: columns in blocks, each drawn from its own seed in the projector's dtype.

    Drawing is two thirds of its work at 64 examples, so blocks are kept as far as memory goes. The product is never in
    half precision (on a CPU that took 75 times as long), and `free_memory` loses nothing for good.
    """

    def __init__(
        self,
        grad_dim: int,
        proj_dim: int,
        seed: int,
        proj_type: Any,
        device: Any,
        dtype: torch.dtype = torch.float32,
        block_size: int = 100,
    ) -> None:
        super().__init__(grad_dim, proj_dim, seed, proj_type, device)
        self.dtype, self.block_size = dtype, min(block_size, proj_dim)
        self._model_id: int | None = None
        self._kept: list[Tensor] = []
        self._scratch: Tensor | None = None
        self._num_kept = int(KEPT * memory(torch.device(device))) // (4 * grad_dim * self.block_size)

    @classmethod
    def of(cls, basic: BasicProjector) -> "Blocks":
        """The same projection as one of traker's projectors."""
        settings = (basic.grad_dim, basic.proj_dim, basic.seed, basic.proj_type, basic.device)
        return cls(*settings, basic.dtype, basic.block_size)

    @full_float32()
    def project(self, grads: Mapping[str, Tensor] | Tensor, model_id: int) -> Float[Tensor, "b k"]:
        """Multiply the gradients of a batch by the blocks of this checkpoint."""
        rows = rows_of(grads).to(self.device)
        if model_id != self._model_id:
            self.free_memory()
            self._model_id = model_id
        starts = range(0, self.proj_dim, self.block_size)
        columns = [rows @ self._block(index)[:, : self.proj_dim - start].to(rows) for index, start in enumerate(starts)]
        return torch.cat(columns, dim=1)

    def free_memory(self) -> None:
        """Let go of the drawn blocks; the next batch draws them again."""
        self._model_id, self._scratch = None, None
        self._kept.clear()

    def _block(self, index: int) -> Float[Tensor, "p width"]:
        """The `index`-th columns of the current checkpoint; those not kept share one place."""
        if index < len(self._kept):
            return self._kept[index]
        if index < self._num_kept:
            self._kept.append(self._draw(index, self._empty()).float())
            return self._kept[index]
        self._scratch = self._draw(index, self._empty() if self._scratch is None else self._scratch)
        return self._scratch

    def _empty(self) -> Tensor:
        return torch.empty(self.grad_dim, self.block_size, dtype=self.dtype, device=self.device)

    def _draw(self, index: int, into: Tensor) -> Tensor:
        assert self._model_id is not None
        seed = self.seed + 1000 * index + 100_000 * self._model_id
        generator = torch.Generator(device=self.device).manual_seed(seed)
        if getattr(self.proj_type, "value", self.proj_type) == "normal":
            return into.normal_(generator=generator)
        return into.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)


def adopted(projector: Any) -> Any:
    """Our counterpart of one of traker's plain projectors; any other as it is, subclasses of them included."""
    if type(projector) is BasicProjector:
        return Blocks.of(projector)
    if type(projector) is NoOpProjector:
        return Whole(projector.grad_dim, projector.proj_dim, projector.seed, projector.proj_type, projector.device)
    return projector


def memory(device: torch.device) -> int:
    """Bytes of the device, or of the container if that has less."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such limit
        return machine
