"""Preconditioned conjugate gradients for several right-hand sides at once, each with steps of its own.

    minimise x^T A x / 2 - q^T x,    from x_0;    r = q - A x,  z = M r,  p = z + beta p,  x += alpha p

(Hestenes and Stiefel 1952; Saad, algorithm 9.1). Inner products are in float64. A right-hand side whose residual is
small enough stands still from then on, and so does one along which A is not positive.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""A linear map of rows [d, P]."""


@dataclass(frozen=True)
class Solution:
    """What the iteration came to."""

    x: Float[Tensor, "d p"]
    residuals: list[list[float]] = field(default_factory=list)
    """|q - A x| / |q| of each right-hand side, before the first step and after each."""
    objectives: list[list[float]] = field(default_factory=list)
    """x^T A x / 2 - q^T x, likewise: they only fall."""


def solve(
    product: Map,
    right: Float[Tensor, "d p"],
    *,
    precondition: Map = lambda rows: rows,
    start: Float[Tensor, "d p"] | None = None,
    num_steps: int = 20,
    tolerance: float = 1e-2,
    each_step: Callable[[], None] = lambda: None,
) -> Solution:
    """Solve A x = q for each row q of `right`, A symmetric and positive, M (`precondition`) near its inverse.

    Stops after `num_steps` products, or once all residuals are below `tolerance` of |q|.
    """
    x = torch.zeros_like(right) if start is None else start.clone()
    residual = right.clone() if start is None else right - product(x)
    size = _dot(right, right).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    solution = Solution(x)

    def record() -> Float[Tensor, "d"]:
        relative = _dot(residual, residual).sqrt() / size
        solution.residuals.append(relative.tolist())
        solution.objectives.append((-(_dot(right, x) + _dot(residual, x)) / 2).tolist())
        return relative

    going = record() > tolerance
    z = precondition(residual)
    p, rz = z, _dot(residual, z)
    for step in range(num_steps):
        if not bool(going.any()):
            break
        ap = product(p)
        curvature = _dot(p, ap)
        going = going & (curvature > 0) & (rz > 0)
        alpha = torch.where(going, rz / torch.where(going, curvature, 1.0), 0.0).to(x)[:, None]
        x += alpha * p
        residual -= alpha * ap
        going = going & (record() > tolerance)
        each_step()
        if step + 1 < num_steps and bool(going.any()):
            z = precondition(residual)
            new = _dot(residual, z)
            beta = torch.where(going, new / torch.where(rz > 0, rz, 1.0), 0.0).to(x)[:, None]
            p, rz = z + beta * p, new
    return solution


def _dot(a: Float[Tensor, "d p"], b: Float[Tensor, "d p"]) -> Float[Tensor, "d"]:
    return torch.stack([torch.dot(x.double(), y.double()) for x, y in zip(a, b, strict=True)])
