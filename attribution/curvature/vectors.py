"""Vectors in parameter space as one matrix [d, P], and back."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.gradients.engine import Directions


def flatten(directions: Directions) -> Float[Tensor, "d p"]:
    """All parameters side by side, in their order."""
    return torch.cat([value.flatten(1) for value in directions.values()], dim=1)


def unflatten(rows: Float[Tensor, "d p"], like: Mapping[str, Tensor] | Directions) -> dict[str, Tensor]:
    """Rows as vectors by parameter, of the shapes of the parameters `like` (without an axis of vectors)."""
    parts = rows.split([value.numel() for value in like.values()], dim=1)
    return {
        name: part.reshape(len(rows), *value.shape) for (name, value), part in zip(like.items(), parts, strict=True)
    }


def ordered(directions: Directions, names: Sequence[str]) -> dict[str, Tensor]:
    """The same in the order of `names`."""
    return {name: directions[name] for name in names}
