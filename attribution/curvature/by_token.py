"""Which predictions of an example carried its score: the slope of each prediction's own loss along a direction.

    <x, grad loss(z)> = sum_t d/de [ w_t l_t(theta + e x) ],    w_t = 1 / n: one pass in forward mode, and no hooks

The terms of the sum are what is given, so they add up to the slope that `gradients.slopes` reads. Of margins the same:
d margin_t = dz_y - sum_j r_j dz_j over the other outcomes j, r_j = p_j / (1 - p_y).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.attribution.curvature.sampled import predictions
from thresher.attribution.gradients.fallback import logits_with
from thresher.devices import full_float32
from thresher.outputs import Batch


@torch.no_grad()
@full_float32()
def slopes_by_token(
    model: nn.Module, batch: Batch, direction: Mapping[str, Tensor], output: str = "loss"
) -> Float[Tensor, "b *t"]:
    """Of a batch [b, t] of text, or [b] of examples with one label each: 0 where nothing is predicted.

    `direction` holds one vector by parameter; `output` is what its slope is of, loss or margin. Of text position j has
    what predicting token j carried.
    """
    device = next(iter(direction.values())).device
    batch = {name: value.to(device) for name, value in batch.items()}
    parameters = {name: model.get_parameter(name).detach() for name in direction}
    tangents = {name: value.to(parameters[name]) for name, value in direction.items()}
    with sdpa_kernel(SDPBackend.MATH):  # fused attention kernels have no forward mode
        logits, pushed = jvp(lambda values: logits_with(model, values, batch), (parameters,), (tangents,))[:2]
    labels = batch["labels"]
    places, counts = predictions(logits, labels)
    following = labels if logits.ndim == 2 else labels.roll(-1, dims=1)
    index = torch.where(places, following, 0)[..., None]
    chosen = pushed.gather(-1, index)[..., 0]
    logits = logits if output == "loss" else logits.scatter(-1, index, -torch.inf)
    slopes = torch.where(places, (logits.softmax(dim=-1) * pushed).sum(dim=-1) - chosen, 0.0)
    slopes = slopes if output == "loss" else -slopes
    if logits.ndim == 2:
        return slopes
    shares = torch.from_numpy(counts).to(slopes).clamp(min=1)[:, None]
    return (slopes / shares).roll(1, dims=1)
