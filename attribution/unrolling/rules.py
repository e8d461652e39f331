"""Optimisers backwards: what a change after a step goes back to, through the optimiser's update alone.

Written out by hand, since both rules act on every number by itself. g is the batch's gradient after clipping;
a dash marks what holds after the step.

    AdamW   m' = b1 m + (1 - b1) g,   v' = b2 v + (1 - b2) g^2,   x' = (1 - lr wd) x - lr m^ / (r + eps)
            m^ = m' / (1 - b1^t),   r = sqrt(v' / (1 - b2^t) + eps_root)
    SGD     b' = mu b + g + wd x,   x' = x - lr b'

`eps_root` inside of the root makes AdamW smooth: without it the derivative of the root grows without bound as v goes to
0. Where v and eps_root are both 0 no example has ever had a gradient, and the derivative is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.errors import InputError

# What `clip_grad_norm_` adds to the norm that it divides by.
CLIP_EPS = 1e-6


class Pulled(NamedTuple):
    """Cotangents [d, ...] before the update: of the gradient that went in, and of parameter and moments."""

    gradient: Tensor
    state: list[Tensor]


@dataclass(frozen=True)
class AdamW:
    """One step of one parameter by AdamW; `count` is t, 1 in the first step that it had a gradient in."""

    rate: float
    decay: float
    betas: tuple[float, float]
    eps: float
    eps_root: float
    count: int

    moments = ("exp_avg", "exp_avg_sq")

    def pull(self, after: Sequence[Tensor], gradient: Tensor, moments: Sequence[Tensor]) -> Pulled:
        """Cotangents of x', m' and v', the gradient, and m' and v' themselves, to the cotangents before.

        The curvature of the loss is not in it: what comes back to the gradient has still to go through the model.
        """
        (b1, b2), (to_x, to_m, to_v) = self.betas, after
        unbias_m, unbias_v = 1 - b1**self.count, 1 - b2**self.count
        root = (moments[1].double() / unbias_v + self.eps_root).sqrt_()
        divisor = root + self.eps
        by_m = (self.rate / unbias_m / divisor).to(to_x)
        slope = moments[0].double() / unbias_m / (2 * root * divisor.square()) * (self.rate / unbias_v)
        by_v = torch.where(root > 0, slope, 0.0).to(to_x)
        to_m, to_v = to_m - to_x * by_m, to_v + to_x * by_v
        to_gradient = (1 - b1) * to_m + (2 * (1 - b2)) * gradient * to_v
        return Pulled(to_gradient, [(1 - self.rate * self.decay) * to_x, b1 * to_m, b2 * to_v])


@dataclass(frozen=True)
class SGD:
    """One step of one parameter by SGD with momentum, 0 for none."""

    rate: float
    decay: float
    momentum: float

    moments = ("momentum_buffer",)

    def pull(self, after: Sequence[Tensor], gradient: Tensor, moments: Sequence[Tensor]) -> Pulled:
        """Cotangents of x' and b' to the cotangents before; the rule is linear, so nothing else is looked at."""
        to_x, to_buffer = after
        to_buffer = to_buffer - self.rate * to_x
        return Pulled(to_buffer, [to_x + self.decay * to_buffer, self.momentum * to_buffer])


Rule = AdamW | SGD


def rules_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Rule]:
    """The rule of each parameter of the model that the optimiser trains, by name, as it stands after the step.

    Raises InputError for an optimiser that is neither AdamW nor SGD with momentum as they are in papers.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rules: dict[str, Rule] = {}
    for group in optimizer.param_groups:
        _refuse_variants(optimizer, group)
        for parameter in (one for one in group["params"] if id(one) in names):
            rate, decay = float(group["lr"]), float(group["weight_decay"])
            if isinstance(optimizer, torch.optim.AdamW):
                smooth = float(group.get("eps_root", 0.0))
                count = int(optimizer.state[parameter]["step"]) if parameter in optimizer.state else 0
                rule: Rule = AdamW(rate, decay, tuple(group["betas"]), group["eps"], smooth, count)
            else:
                rule = SGD(rate, decay, float(group["momentum"]))
            rules[names[id(parameter)]] = rule
    return rules


def pull_through_clipping(
    directions: Mapping[str, Float[Tensor, "d ..."]], gradients: Mapping[str, Tensor], norm: float, most: float | None
) -> dict[str, Tensor]:
    """From a cotangent of the clipped gradient to that of the gradient before `clip_grad_norm_`.

    `norm` is that of the whole gradient before; `gradients` are those after, of which only the direction counts.
    """
    if most is None or norm + CLIP_EPS <= most:
        return dict(directions)
    factor = most / (norm + CLIP_EPS)
    size = torch.stack([gradient.double().square().sum() for gradient in gradients.values()]).sum().sqrt()
    along = sum(
        (directions[name] * gradient).flatten(1).sum(dim=1, dtype=size.dtype) for name, gradient in gradients.items()
    )
    along = along / size.square() * (norm / (norm + CLIP_EPS))
    return {
        name: factor * (direction - along.to(direction).view(-1, *[1] * (direction.ndim - 1)) * gradients[name])
        if name in gradients
        else direction
        for name, direction in directions.items()
    }


def _refuse_variants(optimizer: torch.optim.Optimizer, group: Mapping) -> None:
    known = isinstance(optimizer, torch.optim.AdamW | torch.optim.SGD)
    odd = [name for name in ("amsgrad", "maximize", "nesterov", "dampening") if group.get(name)]
    if not known or odd:
        what = f"{type(optimizer).__name__}{' with ' + ', '.join(odd) if odd else ''}"
        raise InputError(f"training by {what} cannot be replayed backwards; train with adamw, or sgd with momentum")
