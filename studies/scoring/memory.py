"""What a scorer holds in memory beside what the process has, at most, from the sizes of what it makes.

The multiples are of what was measured (docs/scorers.md, memory); they are rounded up.
"""

from math import isqrt

from torch import nn

from thresher.attribution.curvature.groups import LIMIT
from thresher.attribution.gradients.blocks import Block
from thresher.attribution.scoring.options import BYTES_A_PAIR, GIGABYTE
from thresher.scorers import CURVATURE, SCORERS, Work
from thresher.studies.scoring.basis import Attribution

READ = 5.0
"""A batch whose gradients are read, as multiples of what a plain backward pass keeps of it."""
KERNELS = 5
"""Matrices of k x k in float64 at once."""
HELD = 2.0**28
"""Gradients, features or pairs that are held until they are summed."""


def memory_of(
    name: str,
    work: Work,
    settings: Attribution,
    model: nn.Module,
    held: float,
    *,
    k: int,
    positions: float = 1.0,
    steps: int = 0,
) -> float:
    """Bytes beside those of the process.

    `held`: what a backward pass of the largest batch keeps; `k`: numbers of a feature; `positions`: of an example, the
    mean; `steps`: of a training that is gone back through.
    """
    numbers = float(sum(parameter.numel() for parameter in model.parameters()))
    sides = [side for parameter in model.parameters() for side in Block("", parameter.shape, 0).matrix_shape]
    read = 8.0 * numbers + READ * held + HELD
    directions = 4.0 * numbers * work.num_targets
    if name in ("trak", "trackstar"):
        return read + KERNELS * 8.0 * k**2
    if name in ("dual", "direction"):
        rows = work.num_examples if name == "dual" else min(work.sample, work.num_examples)
        pairs = BYTES_A_PAIR * rows * (rows + work.num_targets)
        # What is held of an example's gradients: whole, or at each position what enters and what comes back.
        factored = 4.0 * positions * sum(sides)
        return read + min(settings.memory_gb * GIGABYTE, pairs + rows * (factored + 4.0 * numbers)) + 2 * directions
    if SCORERS[name].damping == CURVATURE:
        vectors = sum(8.0 * side**2 for side in sides if side <= LIMIT)
        return read + 3 * vectors + 8.0 * numbers + (8 if name == "ekfac-cg" else 3) * directions
    if "training" in SCORERS[name].needs:
        state = 12.0 * numbers  # weights and two moments
        return read + (isqrt(settings.window or steps) + 3) * state + 6 * directions
    return read
