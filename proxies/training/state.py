"""The state of an unfinished training: one sealed file, replaced whole, from which it goes on bit for bit."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from thresher.artifacts import piece


@dataclass
class TrainState:
    """All that changes while a model trains; random numbers are no part of it, as each step draws from (seed, step)."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: Float[Tensor, "steps"]
    """The loss of each step so far, float32 [num_steps]."""
    step: int = 0
    norm: Tensor | None = None
    """Of the last step's whole gradient before it was clipped, where it is."""
    seconds: float = 0.0
    """Time spent training, in all the parts of a training that was interrupted."""
    looks: dict[str, Tensor] = field(default_factory=dict)
    """What has been measured on the way (`curves`, `last_steps`), where it is."""

    def save(self, file: Path) -> None:
        """Write the state to a safetensors file, in place of the one before."""
        tensors = {f"model/{name}": tensor for name, tensor in self._model_tensors().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in values.items() if value is not None}
        tensors |= {"losses": self.losses, **self.looks}
        plain = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        with piece(file) as scratch:
            save_file(plain, scratch, {"step": str(self.step), "seconds": repr(self.seconds)})

    def restore(self, file: Path) -> None:
        """Put everything back as `save` found it, into a model and an optimiser made by the same configuration."""
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata()
        with torch.no_grad():
            for name, tensor in self._model_tensors().items():
                tensor.copy_(tensors[f"model/{name}"])
            for name, tensor in {"losses": self.losses, **self.looks}.items():
                tensor.copy_(tensors[name])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/")
                state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])

    def _model_tensors(self) -> dict[str, Tensor]:
        """All that training changes."""
        trained = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        return trained | dict(self.model.named_buffers())
