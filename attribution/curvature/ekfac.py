"""(H + D)^-1 of vectors in parameter space, where H is the curvature that `factors` holds.

    Q_l [ (Q_l^T V Q_r) / (Lambda + lambda) ] Q_r^T,    lambda = damping * mean(Lambda) of each group

(arXiv 2308.03296, equation 22). lambda is a multiple of the group's own mean eigenvalue, since those of the parts of a
network differ by orders of magnitude; `absolute` makes it one number for all. Kinds of groups (`groups.KINDS`) may have
multiples of their own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.curvature.factors import Factor, Factors
from thresher.attribution.curvature.groups import KINDS
from thresher.attribution.gradients.engine import Directions
from thresher.errors import InputError, unknown

DAMPING = 0.1
Damping = float | int | Mapping[str, float]
"""lambda in multiples of the mean eigenvalue of each group: one, or by kind of group (DAMPING for others)."""


@dataclass(frozen=True)
class EKFAC:
    """The damped curvature of one model as a linear map."""

    factors: Factors
    damping: Damping = DAMPING
    """In multiples of the mean eigenvalue of each group; `absolute`: lambda itself."""
    absolute: bool = False

    def __post_init__(self) -> None:
        check_damping(self.damping)

    def solve(self, directions: Directions) -> dict[str, Tensor]:
        """(H + D)^-1 v of each vector, [d, *shape] by parameter."""
        return self._map(directions, lambda factor, rotated: rotated / (factor.eigenvalues + self.shift(factor)))

    def product(self, directions: Directions) -> dict[str, Tensor]:
        """(H + D) v of each vector."""
        return self._map(directions, lambda factor, rotated: rotated * (factor.eigenvalues + self.shift(factor)))

    def damp(self, directions: Directions) -> dict[str, Tensor]:
        """D v of each vector."""
        shifts = {name: self.shift(factor) for factor in self.factors.blocks for name in factor.group.names}
        return {name: shifts[name] * value for name, value in directions.items()}

    def shift(self, factor: Factor) -> float:
        """Lambda of a group: what D has on its diagonal. The smallest positive number where all eigenvalues are 0."""
        damping = self.damping
        if isinstance(damping, Mapping):
            damping = damping.get(factor.group.kind, DAMPING)
        if self.absolute:
            return damping
        tiny = torch.finfo(torch.float32).tiny
        return max(damping * float(factor.eigenvalues.mean()), tiny)

    def _map(self, directions: Directions, change: Callable[[Factor, Tensor], Tensor]) -> dict[str, Tensor]:
        mapped = {}
        for factor in self.factors.blocks:
            matrices = factor.group.matrices(directions)
            changed = change(factor, _rotate(matrices, factor.left, factor.right).double())
            back = _rotate(changed.to(matrices), _transposed(factor.left), _transposed(factor.right))
            mapped |= factor.group.directions(back)
        return {name: mapped[name] for name in directions}


def check_damping(damping: Damping) -> None:
    """Raise InputError for a damping that is out of range, or of a kind of group that is unknown."""
    for kind, value in damping.items() if isinstance(damping, Mapping) else [("", damping)]:
        if kind and kind not in KINDS:
            raise unknown("damping of", kind, KINDS)
        if not 0 < value < math.inf:
            raise InputError(
                f"damping{kind and f' of {kind}'}={value} is out of range; pass a finite number above 0, .1 is usual"
            )


def _rotate(
    matrices: Float[Tensor, "d m n"], left: Float[Tensor, "m m"] | None, right: Float[Tensor, "n n"] | None
) -> Float[Tensor, "d m n"]:
    """left^T M right of each matrix M."""
    matrices = matrices if left is None else left.T.to(matrices) @ matrices
    return matrices if right is None else matrices @ right.to(matrices)


def _transposed(side: Tensor | None) -> Tensor | None:
    return None if side is None else side.T
