"""Products of the Gauss-Newton matrix of the mean loss with vectors, for any parameter and no matrix at all.

    H v = mean_i sum_t w_t J_t^T (diag p_t - p_t p_t^T) J_t v,    J_t: from parameters to the logits of prediction t

J v is forward mode, J^T u reverse mode (Schraudolph 2002; Martens 2010). With w_t = 1 / n_i it is the curvature of the
mean over examples of their mean losses; for cross-entropy the Gauss-Newton matrix is the true Fisher.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.attribution.curvature.sampled import weights_of_predictions
from thresher.attribution.gradients.engine import Directions
from thresher.attribution.gradients.fallback import logits_with
from thresher.data.batches import Part
from thresher.devices import full_float32
from thresher.outputs import Batch

# Vectors that go through a batch together: more gain little and take memory each.
AT_ONCE = 8


class GaussNewton:
    """H of the examples of a part, over the parameters `names`; nothing of a batch is kept between products."""

    def __init__(self, model: nn.Module, names: Sequence[str], part: Part, *, most: int | None = None) -> None:
        self.model, self.part, self._most = model.eval(), part, most
        self.parameters = {name: model.get_parameter(name).detach() for name in names}
        self._vectorised = True

    @full_float32()
    def product(self, directions: Directions) -> dict[str, Tensor]:
        """H v of each vector, [d, *shape] by parameter."""
        totals = {name: torch.zeros_like(directions[name]) for name in self.parameters}
        device = next(iter(self.parameters.values())).device
        for shares, batch in self.part.batches(self._most):
            batch = {name: value.to(device) for name, value in batch.items()}
            for name, value in self._of_batch(batch, shares.weights, directions).items():
                totals[name] += value
        return {name: value / len(self.part) for name, value in totals.items()}

    def _of_batch(self, batch: Batch, shares: Float[np.ndarray, "b"], directions: Directions) -> dict[str, Tensor]:
        tangents = {name: directions[name].to(value) for name, value in self.parameters.items()}
        if self._vectorised and len(next(iter(tangents.values()))) > 1:
            try:
                return self._along(batch, shares, tangents, vmapped=True)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # vmap refuses in-place writes and control flow that depends on data
                self._vectorised = False
        each = [
            self._along(batch, shares, {name: value[i] for name, value in tangents.items()}, vmapped=False)
            for i in range(len(next(iter(tangents.values()))))
        ]
        return {name: torch.stack([one[name] for one in each]) for name in tangents}

    def _along(
        self, batch: Batch, shares: Float[np.ndarray, "b"], tangents: dict[str, Tensor], *, vmapped: bool
    ) -> dict[str, Tensor]:
        def logits(values: dict[str, Tensor]) -> Tensor:
            return logits_with(self.model, values, batch)

        # Fused attention kernels have no forward mode.
        with sdpa_kernel(SDPBackend.MATH):
            outputs, pull = vjp(logits, self.parameters)[:2]
            p = outputs.softmax(dim=-1)
            p_weighted = p * weights_of_predictions(outputs, batch["labels"], shares)[..., None]

            def product(tangent: dict[str, Tensor]) -> dict[str, Tensor]:
                pushed = jvp(logits, (self.parameters,), (tangent,))[1]
                return pull(p_weighted * (pushed - (p * pushed).sum(dim=-1, keepdim=True)))[0]

            return vmap(product, chunk_size=AT_ONCE)(tangents) if vmapped else product(tangents)
