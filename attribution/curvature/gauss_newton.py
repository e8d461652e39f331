"""Products of the Gauss-Newton matrix of the mean loss with vectors, for any parameter and no matrix at all.

    H v = mean_i sum_t w_t J_t^T (diag p_t - p_t p_t^T) J_t v,    J_t: from parameters to the logits of prediction t

J v is forward mode, J^T u reverse mode (Schraudolph 2002; Martens 2010). With w_t = 1 / n_i it is the curvature of the
mean over examples of their mean losses; for cross-entropy the Gauss-Newton matrix is the true Fisher.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad
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
        # A pass that is pushed forward holds twice what another does.
        self.model, self.part = model.eval(), replace(part, batch_tokens=max(1, part.budget // 2))
        self._most = most
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
        count = len(next(iter(tangents.values())))
        # Fused attention kernels have no forward mode.
        with sdpa_kernel(SDPBackend.MATH):
            if self._vectorised and count > 1:
                try:
                    return self._at_once(batch, shares, tangents)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError:  # vmap refuses in-place writes and control flow that depends on data
                    self._vectorised = False
            each = [self._along(batch, shares, {name: v[i] for name, v in tangents.items()}) for i in range(count)]
        return {name: torch.stack([one[name] for one in each]) for name in tangents}

    def _at_once(self, batch: Batch, shares: Float[np.ndarray, "b"], tangents: dict[str, Tensor]) -> dict[str, Tensor]:
        """Vectors side by side: one pass that is pulled back along, and one forward for some of them at once."""

        def logits(values: dict[str, Tensor]) -> Tensor:
            return logits_with(self.model, values, batch)

        outputs, pull = vjp(logits, self.parameters)[:2]
        weigh = _weighing(outputs, batch["labels"], shares)

        def product(tangent: dict[str, Tensor]) -> dict[str, Tensor]:
            return pull(weigh(jvp(logits, (self.parameters,), (tangent,))[1]))[0]

        return vmap(product, chunk_size=AT_ONCE)(tangents)

    def _along(self, batch: Batch, shares: Float[np.ndarray, "b"], tangent: dict[str, Tensor]) -> dict[str, Tensor]:
        """One vector: the pass that pushes it forward is the one that is pulled back along."""
        leaves = {name: value.clone().requires_grad_() for name, value in self.parameters.items()}
        # Backward runs outside the level, where what it saved has no tangents that it would push on.
        with torch.enable_grad(), forward_ad.dual_level():
            duals = {name: forward_ad.make_dual(leaf, tangent[name]) for name, leaf in leaves.items()}
            outputs, pushed = forward_ad.unpack_dual(logits_with(self.model, duals, batch))
        pushed = torch.zeros_like(outputs) if pushed is None else pushed
        weigh = _weighing(outputs.detach(), batch["labels"], shares)
        pulled = torch.autograd.grad(
            outputs, list(leaves.values()), weigh(pushed.detach()), allow_unused=True, materialize_grads=True
        )
        return dict(zip(leaves, pulled, strict=True))


def _weighing(outputs: Tensor, labels: Tensor, shares: Float[np.ndarray, "b"]) -> Callable[[Tensor], Tensor]:
    """Of each prediction w (diag p - p p^T) times a change of its logits, which is overwritten: logits are large."""
    p, w = outputs.softmax(dim=-1), weights_of_predictions(outputs, labels, shares)[..., None]
    return lambda pushed: pushed.sub_(torch.linalg.vecdot(p, pushed)[..., None]).mul_(p).mul_(w)
