"""Per-example gradients with no projection, each in the cheaper of two forms for products with others.

A weight [m, n] whose layer sees t positions of an example has the gradient sum_t l_t r_t^T (r entered, l came back).

    whole     m n numbers;       <g_i, g_j> costs m n
    factors   t (m + n) numbers; <g_i, g_j> = sum_{t, s} <l_it, l_js> <r_it, r_js> costs t^2 (m + n)

("Ghost" products: arXiv 1510.01799, 2406.11011.) A parameter used twice has the positions of both uses: the product of
sums holds their cross terms. Vectors, lookups and what only the fallback reaches stay whole.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import Rows
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs

Directions = Mapping[str, Tensor]
"""Vectors in parameter space, by parameter: [d, *shape]."""


class Reader(Featurizer):
    """A featuriser, verified against autograd with the batch `probe`, that adds gradients to rows of another kind.

    Options are `Featurizer`'s.
    """

    def __init__(self, model: nn.Module, probe: Batch, **options) -> None:
        super().__init__(model, projection="identity", **options)
        self._start: Callable[[int], Rows] = super()._new_rows
        self(probe)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters whose gradients are read."""
        return tuple(self._blocks)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """Of the gradients."""
        return self._dtype

    def _new_rows(self, num_examples: int) -> Rows:
        return self._start(num_examples)

    @torch.no_grad()
    @full_float32()
    def _read(self, batch: Batch) -> tuple[Rows, Outputs]:
        """The rows of a batch and its outputs; refuses what the fallback would have to take over only now."""
        found = self._gradients(self._placed(batch))
        changed = self._capture.failed - set(self._fallback.names)
        if changed:
            raise InputError(
                f"the model uses {', '.join(sorted(changed)[:3])} in other ways for some examples than for others; "
                "score it from features, which allow for that"
            )
        return found
