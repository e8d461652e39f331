"""Whether gradients that were captured by hooks are those of plain autograd, on a few examples."""

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.gradients.blocks import Block, Rows
from thresher.attribution.gradients.capture import Capture
from thresher.outputs import Batch

TOLERANCE = (1e-2, 1e-4)
"""How far a captured gradient may be from autograd's, relative to its own norm and to that of the whole gradient."""
HALF_TOLERANCE = (0.2, 0.02)
"""The same where passes run in bfloat16 or float16."""


def wrong_parameters(
    capture: Capture,
    blocks: Mapping[str, Block],
    rows: Rows,
    exact: Mapping[str, Tensor],
    norms: Float[Tensor, "b"],
    *,
    half: bool,
) -> set[str]:
    """The parameters that the hooks did not see or whose gradients in `rows` are too far from `exact`.

    `exact` holds the gradients [b, *shape] by parameter, `norms` the norms of the whole gradients, and `half` says
    whether the tolerance is that of passes in half precision.
    """
    relative, absolute = HALF_TOLERANCE if half else TOLERANCE
    wrong = capture.failed | (blocks.keys() - capture.seen)
    for name, block in blocks.items():
        true = block.project(exact[name].to(rows.values.dtype))
        captured = rows.of(block).flatten(1)
        if bool(((captured - true).norm(dim=1) > relative * true.norm(dim=1) + absolute * norms).any()):
            wrong.add(name)
    return wrong


def unlike(sizes: Collection[int]) -> int:
    """The smallest number of examples, 2 or more, that is none of these sizes: an axis of that many is the examples."""
    return next(count for count in range(2, len(sizes) + 3) if count not in sizes)


def most_predicted(batch: Batch) -> Batch:
    """Two or three examples with the most to predict, in a number that is no other size of the batch's tensors."""
    labels = batch["labels"]
    predicted = (labels != -100).reshape(len(labels), -1).sum(dim=1)
    count = unlike({size for value in batch.values() for size in value.shape[1:]})
    order = predicted.argsort(descending=True, stable=True)[:count]
    order = order[torch.arange(count, device=order.device) % len(order)]
    return {name: value[order] for name, value in batch.items()}
