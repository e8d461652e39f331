"""Gradients as they pass from a gradient computer to a projector: by parameter, or flattened in rows."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class PerExample(dict[str, Tensor]):
    """Gradients [b, *shape] by parameter, as traker's projectors take them: views of `rows` [b, P]."""

    rows: Tensor


def rows_of(gradients: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "b p"]:
    """Flattened gradients of one example a row, from what any gradient computer gave."""
    if isinstance(gradients, Tensor):
        return gradients
    if isinstance(gradients, PerExample):
        return gradients.rows
    return torch.cat([gradient.reshape(len(gradient), -1) for gradient in gradients.values()], dim=1)
