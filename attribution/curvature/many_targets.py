"""Solutions for many targets at once, from those of a few combinations of them.

Of t target gradients q the scores are S_zt = g(z)^T (H + D)^-1 q_t. Where gradients g of the pool are like the
curvature that they make, E g g^T = H + D, the squared error of scores from combinations V_r V_r^T q is the sum of the
eigenvalues of Q (H + D)^-1 Q^T, [t, t], that belong to the combinations left out: its first r eigenvectors V_r lose the
least.
EK-FAC solves for all t cheaply and gives that matrix; conjugate gradients and passes over the pool are then for r
vectors in place of t, and with r = t nothing is lost.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.curvature.ekfac import EKFAC
from thresher.attribution.curvature.factors import Factors
from thresher.attribution.curvature.inverse import Solving, invert
from thresher.attribution.curvature.vectors import flatten, ordered
from thresher.attribution.gradients.engine import Directions
from thresher.data.batches import Part
from thresher.errors import InputError


def check_rank(rank: int | None) -> None:
    """Raise InputError for a rank below 1."""
    if rank is not None and rank < 1:
        raise InputError(f"rank={rank} is out of range; pass 1 or more directions, or leave it out for one a target")


def invert_many(
    model: nn.Module, factors: Factors, part: Part, targets: Directions, solving: Solving, rank: int | None
) -> tuple[dict[str, Tensor], dict[str, float], Float[Tensor, "t r"] | None]:
    """Solutions [r, *shape] by parameter, the facts of `invert`, and what of each makes the solution of each target.

    Without a rank, or with one of t or more, the solutions are those of the targets themselves and the mixing is None.
    The fact `kept` is the share of the eigenvalues' sum that the combinations hold.
    """
    count = len(next(iter(targets.values())))
    if rank is None or rank >= count:
        return *invert(model, factors, part, targets, solving), None
    solved = EKFAC(factors, solving.damping).solve(targets)
    mixing, kept = principal(flatten(ordered(targets, list(solved))), flatten(solved), rank)
    facts: dict[str, float] = {}
    if solving.steps:
        solved, facts = invert(model, factors, part, _combined(targets, mixing), solving)
    else:
        solved = _combined(solved, mixing)
    return solved, facts | {"kept": kept}, mixing


def principal(
    gradients: Float[Tensor, "t p"], solved: Float[Tensor, "t p"], rank: int
) -> tuple[Float[Tensor, "t r"], float]:
    """The combinations V_r of the targets that hold most of Q (H + D)^-1 Q^T, and the share of its trace they hold."""
    matrix = (gradients @ solved.T).double()
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values = values.clamp(min=0)
    total = float(values.sum())
    return vectors[:, -rank:].flip(1).to(gradients), float(values[-rank:].sum()) / total if total else 1.0


def _combined(directions: Directions, mixing: Float[Tensor, "t r"]) -> dict[str, Tensor]:
    return {name: torch.tensordot(mixing.T.to(value), value, 1) for name, value in directions.items()}
