"""The largest eigenvalue of the Hessian of a model's loss: the scale that a learning rate is small against."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.data.examples import Examples
from thresher.devices import full_float32, pick_device
from thresher.errors import InputError
from thresher.proxies.training import training_loss
from thresher.seeds import numpy_rng, torch_rng


@full_float32()
def largest_eigenvalue(
    model: nn.Module,
    examples: Examples,
    *,
    num_examples: int = 256,
    batch_size: int = 32,
    num_iterations: int = 30,
    tolerance: float = 1e-2,
    seed: int = 0,
    device: str = "auto",
) -> float:
    """The eigenvalue of largest absolute value of the Hessian of the mean loss, by power iteration on products with it.

    On `num_examples` random windows of them; stops when a step changes it by less than `tolerance` of itself. The loss
    is that of training, its mean over batches. Gradient descent is stable below 2 over it.
    """
    if num_iterations < 1 or num_examples < 1:
        raise InputError(f"num_iterations={num_iterations}, num_examples={num_examples}; pass 1 or more of both")
    place = pick_device(device)
    model = model.to(place).eval()
    rows = numpy_rng(seed, "curvature").permutation(len(examples.windows.example))[:num_examples]
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    generator = torch_rng(seed, "curvature")
    vector = _unit([torch.randn(parameter.shape, generator=generator).to(place) for parameter in parameters])
    value = 0.0
    for _ in range(num_iterations):
        product = [torch.zeros_like(part) for part in vector]
        for batch in batches:
            for total, part in zip(product, _product(model, examples, batch, parameters, vector, place), strict=True):
                total += part * (len(batch) / len(rows))
        before, value = value, float(sum((a * b).sum() for a, b in zip(vector, product, strict=True)))
        if abs(value - before) <= tolerance * abs(value):
            break
        vector = _unit(product)
    return value


def _product(model, examples, rows: np.ndarray, parameters, vector: list[Tensor], place) -> list[Tensor]:
    """Hessian times vector, of the mean loss of one batch."""
    batch = {name: tensor.to(place) for name, tensor in examples.batch(rows).items()}
    # The fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        loss = training_loss(model, batch, None)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        slope: Float[Tensor, ""] = torch.stack(
            [(gradient * part).sum() for gradient, part in zip(gradients, vector, strict=True)]
        ).sum()
        return [part.detach() for part in torch.autograd.grad(slope, parameters, materialize_grads=True)]


def _unit(parts: list[Tensor]) -> list[Tensor]:
    norm = torch.stack([part.square().sum() for part in parts]).sum().sqrt()
    return [part / norm for part in parts]
