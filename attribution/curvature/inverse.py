"""The solve that influence functions need, (H + D)^-1 q, by EK-FAC alone or from there by conjugate gradients.

ekfac      H: the factors' own
ekfac-cg   H: the Gauss-Newton matrix of some random examples of the pool, the same for all right-hand sides;
           the preconditioner is EK-FAC's, so the first step is along its solution, and so is D
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.curvature import conjugate_gradients
from thresher.attribution.curvature.ekfac import DAMPING, EKFAC, Damping, check_damping
from thresher.attribution.curvature.factors import Factors
from thresher.attribution.curvature.gauss_newton import GaussNewton
from thresher.attribution.curvature.store import SAMPLE, check_sample
from thresher.attribution.curvature.vectors import flatten, ordered, unflatten
from thresher.attribution.gradients.engine import Directions
from thresher.data.batches import Part
from thresher.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Solving:
    """How (H + D)^-1 is applied."""

    damping: Damping = DAMPING
    """D, in multiples of the mean eigenvalue of each group: one number, or one by kind of group, such as
    {"embedding": 1.0} (linear, embedding, norm, other)."""
    sample: int = SAMPLE
    """Examples that the factors are made from."""
    steps: int = 0
    """Of conjugate gradients; 0: EK-FAC alone."""
    examples: int = 256
    """Of the Gauss-Newton matrix."""
    tolerance: float = 1e-2
    """Of the residual, relative to the right-hand side: a solve that is so close stops."""

    def check(self) -> None:
        """Raise InputError for numbers that are out of range."""
        check_sample(self.sample)
        check_sample(self.examples, "examples")
        check_damping(self.damping)
        if self.steps < 0 or not 0 <= self.tolerance < 1:
            raise InputError(
                f"steps={self.steps}, tolerance={self.tolerance}; pass 0 or more steps, and a tolerance from 0 to 1"
            )

    @property
    def request(self) -> dict[str, Any]:
        """What decides the solution."""
        damping = dict(self.damping) if isinstance(self.damping, Mapping) else self.damping
        own = {"damping": damping, "sample": self.sample}
        more = {"steps": self.steps, "examples": self.examples, "tolerance": self.tolerance}
        return own | (more if self.steps else {})


def invert(
    model: nn.Module, factors: Factors, part: Part, directions: Directions, solving: Solving
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """(H + D)^-1 of each direction, and facts: steps, the largest relative residual, the mean objective.

    `part` holds the examples of the Gauss-Newton matrix; without steps it is not read. The fact `objective_of_ekfac` is
    that of the best multiple of EK-FAC's solution.
    """
    ekfac = EKFAC(factors, solving.damping)
    if not solving.steps:
        return ekfac.solve(directions), {}
    names = [name for name in directions if name in factors.names]
    newton = GaussNewton(model, names, part)

    def vectors(rows: Float[Tensor, "d p"]) -> dict[str, Tensor]:
        return unflatten(rows, newton.parameters)

    def damped(rows: Float[Tensor, "d p"]) -> Float[Tensor, "d p"]:
        product, extra = newton.product(vectors(rows)), ekfac.damp(vectors(rows))
        return flatten({name: product[name] + extra[name] for name in names})

    solution = conjugate_gradients.solve(
        damped,
        flatten(ordered(directions, names)),
        precondition=lambda rows: flatten(ekfac.solve(vectors(rows))),
        num_steps=solving.steps,
        tolerance=solving.tolerance,
    )
    first, last = (solution.objectives[at] for at in (min(1, len(solution.objectives) - 1), -1))
    facts = {
        "steps": len(solution.residuals) - 1,
        "residual": max(solution.residuals[-1]),
        "objective_of_ekfac": sum(first) / len(first),
        "objective": sum(last) / len(last),
    }
    return vectors(solution.x), {name: float(value) for name, value in facts.items()}
