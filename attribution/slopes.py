"""Directions in parameter space, and the slope <grad f(z), v> of every example z of a batch along each.

Forward mode gives the slopes of a whole batch at once, at about one more forward pass a direction: the tangent of the
logits along v, times d f / d logits of each example. What it refuses goes through the hooks: per position l^T V r,
without any example's gradient being formed. Directions are sums of gradients over examples: plain backward passes.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.attribution.fallback import logits_with
from thresher.attribution.reader import Directions, GradientReader, Part
from thresher.outputs import Batch, Outputs, logits_of, outputs_of

# From three directions on the hooks are cheaper: one forward and one backward pass, then a product a direction.
MOST_FORWARD = 2
# How far the slopes of forward mode may be from those of the hooks, relative to the norms of both vectors.
TOLERANCE = 1e-3


def weighted_gradients(
    model: nn.Module, names: Sequence[str], part: Part, weights: Float[Tensor, "n d"], output: str = "margin"
) -> Directions:
    """sum_i weights[i, d] grad f(z_i) for each d, over the parameters `names`."""
    parameters = [model.get_parameter(name) for name in names]
    num_directions = weights.shape[1]
    dtypes = [torch.promote_types(parameter.dtype, torch.float32) for parameter in parameters]
    totals = [
        torch.zeros(num_directions, *parameter.shape, dtype=dtype, device=parameter.device)
        for parameter, dtype in zip(parameters, dtypes, strict=True)
    ]
    device = parameters[0].device
    for members, batch in part.batches():
        batch = {name: value.to(device) for name, value in batch.items()}
        with torch.enable_grad():
            values = getattr(outputs_of(logits_of(model, batch), batch["labels"]), output)
        for column in range(num_directions):
            some = weights[torch.from_numpy(members), column].to(values)
            more = column + 1 < num_directions
            made = torch.autograd.grad(values, parameters, some, retain_graph=more, materialize_grads=True)
            for total, gradient in zip(totals, made, strict=True):
                total[column] += gradient
    return dict(zip(names, totals, strict=True))


def mean_gradients(reader: GradientReader, parts: Sequence[Part], output: str) -> Directions:
    """The mean gradient of each part, [parts, *shape] by parameter."""
    made = [
        weighted_gradients(reader.model, reader.names, part, torch.ones(len(part), 1).double() / len(part), output)
        for part in parts
    ]
    return {name: torch.cat([each[name] for each in made]) for name in reader.names}


class Slopes:
    """Callable on batches: slopes [b, d] along d directions, and the outputs.

    `reader` is of the same model with `factored="always"`. Forward mode is used for up to two directions, if on `probe`
    it gives what the hooks give; `forward` says whether.
    """

    def __init__(self, reader: GradientReader, directions: Directions, probe: Batch, *, output: str = "margin") -> None:
        self._reader, self._directions, self._output = reader, directions, output
        self._parameters = {name: reader.model.get_parameter(name).detach() for name in reader.names}
        self.num_directions = len(next(iter(directions.values())))
        self.forward = self.num_directions <= MOST_FORWARD and self._agrees(probe)

    def __call__(self, batch: Batch) -> tuple[Float[Tensor, "b d"], Outputs]:
        if self.forward:
            return self.by_forward_mode(batch)
        return self.by_hooks(batch)

    def by_hooks(self, batch: Batch) -> tuple[Float[Tensor, "b d"], Outputs]:
        gradients, outputs = self._reader.read(batch)
        return gradients.along(self._directions), outputs

    def by_forward_mode(self, batch: Batch) -> tuple[Float[Tensor, "b d"], Outputs]:
        batch = {name: value.to(self._reader.device) for name, value in batch.items()}
        columns: list[Tensor] = []
        gradient, outputs = None, None
        for column in range(self.num_directions):
            along = {name: self._directions[name][column].to(value) for name, value in self._parameters.items()}
            # The fused attention kernels have no forward derivative; the plain one is made of operations that do.
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                logits, tangent, *_ = jvp(
                    lambda values: logits_with(self._reader.model, values, batch), (self._parameters,), (along,)
                )
            if gradient is None:
                gradient, outputs = _at_logits(logits, batch["labels"], self._output)
            columns.append((gradient * tangent).flatten(1).sum(dim=1, dtype=self._reader.dtype))
        assert outputs is not None
        return torch.stack(columns, dim=1), outputs

    def _agrees(self, probe: Batch) -> bool:
        try:
            found, _ = self.by_forward_mode(probe)
        except (RuntimeError, NotImplementedError):  # an operation without a forward derivative
            return False
        gradients, _ = self._reader.read(probe)
        size = gradients.inner(gradients).diagonal().sqrt()[:, None] * norms(self._directions)
        return bool(((found - gradients.along(self._directions)).abs() <= TOLERANCE * size).all())


def norms(directions: Directions) -> Float[Tensor, " d"]:
    return torch.stack([value.flatten(1).square().sum(dim=1) for value in directions.values()]).sum(dim=0).sqrt()


def _at_logits(logits: Tensor, labels: Tensor, output: str) -> tuple[Tensor, Outputs]:
    """d f(z) / d logits of each example, and the outputs."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        outputs = outputs_of(leaf, labels)
        (gradient,) = torch.autograd.grad(getattr(outputs, output).sum(), leaf)
    return gradient, Outputs(*(value.detach() for value in outputs))
