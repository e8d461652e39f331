"""The optimiser's state at the end of a training, kept beside the weights: what scorers read of it.

`optimizer.safetensors` of a `model` artefact has a tensor `KEY NAME` for each parameter NAME that was trained: of AdamW
the keys exp_avg and exp_avg_sq, of SGD momentum_buffer; the header's `state` has `step` and `beta2`, as JSON, for two
entries of a header have no fixed order (files before 2026-12 have two). A training keeps it where
`TrainConfig.keep_optimizer` asks for it.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from thresher.artifacts import Draft, open_artifact
from thresher.errors import InputError
from thresher.proxies.models import names

OPTIMIZER = "optimizer.safetensors"
FLOOR = 1e-2
"""What is added to second moments, of their mean in the parameter."""


def save_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, draft: Draft) -> None:
    """Write the state of a model's optimiser."""
    tensors, step = {}, 0
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if key == "step":
                step = max(step, int(value))
            elif isinstance(value, Tensor):
                tensors[f"{key} {name}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    betas = optimizer.param_groups[0].get("betas", (0.0, 0.0))
    with draft.file(OPTIMIZER) as file:
        save_file(tensors, file, {"state": json.dumps({"step": step, "beta2": betas[1]})})


def second_moments_file(name: str | Path) -> tuple[str, Path] | None:
    """The hash and the place of the second moments that the model called `name` has; None where it has none."""
    parsed = names.parse(str(name), trained=True)
    if parsed.kind != names.ARTIFACT:
        return None
    artifact = open_artifact(Path(parsed.value), "model")
    if OPTIMIZER not in artifact.meta["files"]:
        return None
    file = artifact.file(OPTIMIZER)
    with safe_open(file, framework="pt") as stored:
        has_any = any(key.startswith("exp_avg_sq ") for key in stored.keys())  # noqa: SIM118
    return (artifact.meta["files"][OPTIMIZER]["sha256"], file) if has_any else None


def second_moment_scales(file: Path) -> dict[str, Tensor]:
    """1 / sqrt(v + FLOOR mean(v)) of each trained parameter, v = exp_avg_sq / (1 - beta2^step): what AdamW divides by.

    The floor keeps lines of an embedding that were not read lately, whose v has died away, from outweighing all others.
    Raises InputError for a state of no steps.
    """
    with safe_open(file, framework="pt") as stored:
        header = stored.metadata()
        header = json.loads(header["state"]) if "state" in header else header
        step, beta2 = int(header["step"]), float(header["beta2"])
        if step < 1:
            raise InputError(f"{file} is of a training without steps; train the model again")
        moments = {
            key.removeprefix("exp_avg_sq "): stored.get_tensor(key) / (1 - beta2**step)
            for key in stored.keys()  # noqa: SIM118
            if key.startswith("exp_avg_sq ")
        }
    tiny = torch.finfo(torch.float32).tiny
    return {name: (v + FLOOR * v.mean()).clamp(min=tiny).rsqrt() for name, v in moments.items()}
