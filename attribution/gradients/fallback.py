"""Per-example gradients of parameters that no layer rule covers: a vectorised pull-back, or one example at a time."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from thresher.outputs import Batch, logits_of

# Examples differentiated at once.
CHUNK = 16


class Fallback:
    """Pulls the gradient of each example's logits back to `names`, by vmap where the model allows it."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self.model, self.names = model, names
        self._vectorised = True

    def __call__(self, batch: Batch, logit_gradients: Tensor) -> dict[str, Tensor]:
        """Gradients [b, *shape] by parameter, given those of the logits [b, ..]."""
        parameters = {name: self.model.get_parameter(name).detach() for name in self.names}
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        if self._vectorised:
            try:
                return self._at_once(parameters, inputs, logit_gradients)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # vmap refuses data-dependent control flow and in-place writes, in many ways
                self._vectorised = False
        return self._one_by_one(parameters, inputs, logit_gradients)

    def _at_once(self, parameters: Mapping[str, Tensor], inputs: Batch, logit_gradients: Tensor) -> dict[str, Tensor]:
        def pull_back(example: Batch, logit_gradient: Tensor) -> dict[str, Tensor]:
            single = {name: value[None] for name, value in example.items()}
            pull = vjp(lambda values: logits_with(self.model, values, single), parameters)[1]
            return pull(logit_gradient[None])[0]

        # The fused attention kernels have no batching rule; the plain one is made of operations that do.
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return vmap(pull_back, chunk_size=CHUNK, randomness="same")(inputs, logit_gradients)

    def _one_by_one(
        self, parameters: Mapping[str, Tensor], inputs: Batch, logit_gradients: Tensor
    ) -> dict[str, Tensor]:
        values = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        rows: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for example in range(len(logit_gradients)):
            single = {name: value[example : example + 1] for name, value in inputs.items()}
            with torch.enable_grad():
                logits = logits_with(self.model, values, single)
            gradients = torch.autograd.grad(
                logits, list(values.values()), logit_gradients[example : example + 1], materialize_grads=True
            )
            for name, gradient in zip(values, gradients, strict=True):
                rows[name].append(gradient)
        return {name: torch.stack(gradients) for name, gradients in rows.items()}


def logits_with(model: nn.Module, values: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """`logits_of` the model with these values in place of its parameters; differentiable in them, either way."""
    return functional_call(_Logits(model), {f"model.{name}": value for name, value in values.items()}, (batch,))


class _Logits(nn.Module):
    """`logits_of` as a module, since `functional_call` swaps the parameters of one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return logits_of(self.model, batch)
