"""Products with the curvature of a step's loss, and the slope of each example's share of it, along d directions.

All three give the same slopes; the curvature is

    hessian        of the loss itself: differentiated twice (exact; about 5 plain passes for the first direction)
    gauss-newton   J^T H J, with J of the logits and H of the cross-entropy in them: forward mode, then a plain backward
                   pass (positive semi-definite; nothing is differentiated twice)
    fisher         N sum_z g_z g_z^T over the examples z of the batch, g_z an example's share of the loss's gradient
                   and N the number of predictions (the Gauss-Newton matrix that AdamW-influence, 2605.18814, makes from
                   per-example gradients; for a class each, N is the number of examples)

Memory is that of one part of a batch, `most` rows at a time; a part that draws random numbers is never cut.
"""

from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.unrolling.losses import Logits, logits_at, predictions_of, set_randomness
from thresher.attribution.unrolling.replay import Part, Step

Directions = dict[str, Tensor]
"""[d, *shape] by parameter."""


class Products(NamedTuple):
    """The curvature times each direction, and the slope of the loss along it by the weight of each example."""

    along: Directions
    slopes: Float[Tensor, "d n"]


Curvature = Callable[[nn.Module, Step, Directions, int | None], Products]


def hessian(model: nn.Module, step: Step, directions: Directions, most: int | None = None) -> Products:
    """By differentiating <gradient, direction> with respect to parameters and weights, a part at a time."""
    made, leaves = _zeros(step, directions), _leaves(step)
    for part in cut(step, most):
        _restore(model, part)
        losses, owners = predictions_of(model, leaves, part.batch, part.owners)
        factors = (step.weights[owners] / step.total).to(losses).requires_grad_()
        loss = (losses * factors).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, materialize_grads=True)
        for d in range(len(made.slopes)):
            terms = [(g * directions[name][d]).sum() for name, g in zip(leaves, gradients, strict=True)]
            wanted = [*leaves.values(), factors]
            *second, slopes = torch.autograd.grad(
                torch.stack(terms).sum(), wanted, retain_graph=True, materialize_grads=True
            )
            _add(made, d, leaves, second)
            made.slopes[d].index_add_(0, owners, slopes.to(made.slopes) / step.total)
    return made


def gauss_newton(model: nn.Module, step: Step, directions: Directions, most: int | None = None) -> Products:
    """By the tangents of the logits, and a backward pass of what the cross-entropy's own curvature makes of them."""
    made, leaves = _zeros(step, directions), _leaves(step)
    for part in cut(step, most):
        _restore(model, part)
        logits = logits_at(model, leaves, part.batch, part.owners).logits
        for d in range(len(made.slopes)):
            read, tangents = _tangents(model, step, part, directions, d)
            probabilities = read.logits.softmax(dim=1)
            mean = (probabilities * tangents).sum(dim=1, keepdim=True)
            _add_slopes(made, d, step, read, tangents, mean)
            factors = (step.weights[read.owners] / step.total).to(mean)[:, None]
            back = probabilities * (tangents - mean) * factors
            gradients = torch.autograd.grad(
                logits, list(leaves.values()), back, retain_graph=True, materialize_grads=True
            )
            _add(made, d, leaves, gradients)
    return made


def fisher(model: nn.Module, step: Step, directions: Directions, most: int | None = None) -> Products:
    """By the slopes of all examples in forward mode, then a backward pass with them as weights."""
    made, leaves, parts = _zeros(step, directions), _leaves(step), cut(step, most)
    for part, d in product(parts, range(len(made.slopes))):
        read, tangents = _tangents(model, step, part, directions, d)
        mean = (read.logits.softmax(dim=1) * tangents).sum(dim=1, keepdim=True)
        _add_slopes(made, d, step, read, tangents, mean)
    for part in parts:
        _restore(model, part)
        losses, owners = predictions_of(model, leaves, part.batch, part.owners)
        for d, slopes in enumerate(made.slopes):
            weights = (step.weights * slopes)[owners].to(losses)  # the loss's 1 / N and the Fisher's N cancel
            gradients = torch.autograd.grad(
                losses, list(leaves.values()), weights, retain_graph=True, materialize_grads=True
            )
            _add(made, d, leaves, gradients)
    return made


CURVATURES: dict[str, Curvature] = {"hessian": hessian, "gauss-newton": gauss_newton, "fisher": fisher}


def gradient_of(model: nn.Module, step: Step, most: int | None = None) -> dict[str, Tensor]:
    """The gradient of a step's loss before clipping, by parameter."""
    leaves = _leaves(step)
    total = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    for part in cut(step, most):
        _restore(model, part)
        losses, owners = predictions_of(model, leaves, part.batch, part.owners)
        loss = (losses * step.weights[owners].to(losses)).sum() / step.total
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        for sum_of_parts, gradient in zip(total.values(), gradients, strict=True):
            sum_of_parts += gradient
    return total


def cut(step: Step, most: int | None) -> list[Part]:
    """The parts of a step, cut into at most `most` rows each; those that draw random numbers stay whole."""
    cut_parts = []
    for part in step.parts:
        size = len(part.owners)
        rows = size if most is None or part.randomness is not None else most
        for low in range(0, size, rows):
            batch = {name: value[low : low + rows] for name, value in part.batch.items()}
            cut_parts.append(Part(batch, part.owners[low : low + rows], part.randomness))
    return cut_parts


def _leaves(step: Step) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in step.parameters.items()}


def _zeros(step: Step, directions: Directions) -> Products:
    like = {name: torch.zeros_like(value) for name, value in directions.items()}
    first = next(iter(directions.values()))
    # Slopes of many tokens are summed.
    slopes = torch.zeros(len(first), len(step.weights), dtype=torch.float64, device=first.device)
    return Products(like, slopes)


def _restore(model: nn.Module, part: Part) -> None:
    if part.randomness is not None:
        set_randomness(part.randomness, next(model.parameters()).device)


def _add(made: Products, d: int, names: Iterable[str], values: Iterable[Tensor]) -> None:
    for name, value in zip(names, values, strict=True):
        made.along[name][d] += value


def _add_slopes(made: Products, d: int, step: Step, read: Logits, tangents: Tensor, mean: Tensor) -> None:
    """Of each prediction's loss: what its softmax expects of the tangents, less its label's own."""
    slopes = mean[:, 0] - tangents.gather(1, read.labels[:, None])[:, 0]
    made.slopes[d].index_add_(0, read.owners, slopes.to(made.slopes) / step.total)


@torch.no_grad()
def _tangents(model: nn.Module, step: Step, part: Part, directions: Directions, d: int) -> tuple[Logits, Tensor]:
    """The logits of a part, and their derivative along direction d, by forward-mode differentiation."""
    _restore(model, part)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(value, directions[name][d]) for name, value in step.parameters.items()}
        read = logits_at(model, duals, part.batch, part.owners)
        logits, tangents = forward_ad.unpack_dual(read.logits)
    assert tangents is not None
    return read._replace(logits=logits), tangents
