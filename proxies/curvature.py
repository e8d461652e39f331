"""The largest eigenvalue of the Hessian of a model's loss: the scale that a learning rate is small against."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.data.examples import Examples
from thresher.devices import full_float32, pick_device
from thresher.errors import InputError
from thresher.proxies.training.objective import training_loss
from thresher.seeds import numpy_rng


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
    """The eigenvalue of largest absolute value of the Hessian of the mean loss, to a relative `tolerance`.

    Found by Lanczos iteration on products with the Hessian (ARPACK, by `scipy`), restarted at most `num_iterations`
    times; it tells eigenvalues of nearly equal size apart where power iteration stops early. The loss is that of
    training, its mean over batches of `num_examples` random windows. Gradient descent is stable at learning rates below
    2 over the eigenvalue. Raises InputError where the iteration does not converge.
    """
    if num_iterations < 1 or num_examples < 1:
        raise InputError(f"num_iterations={num_iterations}, num_examples={num_examples}; pass 1 or more of both")
    place = pick_device(device)
    model = model.to(place).eval()
    rows = numpy_rng(seed, "curvature").permutation(len(examples.windows.example))[:num_examples]
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def product(vector: Float[np.ndarray, "p"]) -> Float[np.ndarray, "p"]:
        parts = _like(torch.from_numpy(np.array(vector)), parameters)
        total = [torch.zeros_like(part) for part in parts]
        for batch in batches:
            for sum_of, part in zip(total, _product(model, examples, batch, parameters, parts, place), strict=True):
                sum_of += part * (len(batch) / len(rows))
        return torch.cat([part.flatten().double().cpu() for part in total]).numpy()

    size = sum(parameter.numel() for parameter in parameters)
    start = numpy_rng(seed, "curvature", "start").standard_normal(size)
    if size < 3:  # too small for ARPACK
        dense = np.stack([product(row) for row in np.eye(size)])
        values = np.linalg.eigvalsh((dense + dense.T) / 2)
        return float(values[np.abs(values).argmax()])
    operator: Any = LinearOperator  # its constructor takes functions, its type does not say so
    hessian = operator((size, size), matvec=product, dtype=np.float64)
    options: Any = {"k": 1, "which": "LM", "v0": start, "tol": tolerance, "maxiter": num_iterations}
    try:
        return float(eigsh(hessian, return_eigenvectors=False, **options)[0])
    except ArpackNoConvergence:
        raise InputError(
            f"the largest eigenvalue was not found to {tolerance:g} of itself in {num_iterations} rounds; "
            "allow more iterations or a larger tolerance"
        ) from None


def _like(vector: Float[Tensor, "p"], parameters: Sequence[Tensor]) -> list[Tensor]:
    """A vector as parts of the parameters' shapes, kinds and places."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter).to(parameter) for part, parameter in zip(parts, parameters, strict=True)]


def _product(
    model: nn.Module,
    examples: Examples,
    rows: Int[np.ndarray, "b"],
    parameters: Sequence[Tensor],
    vector: Sequence[Tensor],
    place: torch.device,
) -> list[Tensor]:
    """The Hessian of the mean loss of one batch times a vector, both in parts of the parameters' shapes."""
    batch = {name: tensor.to(place) for name, tensor in examples.batch(rows).items()}
    # The fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        loss = training_loss(model, batch, None)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        slope: Float[Tensor, ""] = torch.stack(
            [(gradient * part).sum() for gradient, part in zip(gradients, vector, strict=True)]
        ).sum()
        return [part.detach() for part in torch.autograd.grad(slope, parameters, materialize_grads=True)]
