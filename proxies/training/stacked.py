"""Many multi-layer perceptrons trained as one: their parameters stacked, a step of all of them one batched product.

A step of a small network is mostly the interpreter's overhead, which a stack pays once. Each network has its own seed,
initialisation, subset and order, and ends as the artefact that `train` makes of it alone, up to rounding. Convolutions
are slower stacked (a grouped convolution) than one process a core, and batch norms and dropout need what a stack does
not keep, so only the `mlp` models are stacked.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thresher.artifacts import Artifact, Draft, build, is_artifact, open_artifact
from thresher.data.examples import Examples
from thresher.devices import autocast, full_float32
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import Spec, private_randomness
from thresher.proxies.models.weights import save_model
from thresher.proxies.training.config import Group, TrainConfig
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.training.order import Order
from thresher.proxies.training.request import check_indices, request_of
from thresher.proxies.training.single import train
from thresher.proxies.training.trainer import Trainer

MOST = 16
"""Networks in a stack: beyond, a step of digits-sized networks no longer gets cheaper a network."""


@dataclass(frozen=True)
class Member:
    """One run of a stack: where its artefact goes, and the `seed`, `indices` and `budget` that `train` takes."""

    out: Path
    seed: int
    indices: Int[np.ndarray, "m"]
    budget: int | None = None


def can_stack(spec: Spec, config: TrainConfig) -> bool:
    """Whether runs of this model and configuration can be trained as one."""
    plain = config.accumulate == 1 and not config.compile and not config.keep_optimizer
    return spec["source"] == "mlp" and plain


def groups_of(spec: Spec, config: TrainConfig, sizes: Sequence[Any], workers: int | None) -> list[list[int]]:
    """Positions, in `sizes`, of the runs to train as one: those of equal size, shared out among `workers`.

    Where the model cannot be stacked, every run is a group of its own.
    """
    if not can_stack(spec, config):
        return [[position] for position in range(len(sizes))]
    by_size: dict[Any, list[int]] = {}
    for position, size in enumerate(sizes):
        by_size.setdefault(size, []).append(position)
    groups = []
    for same in by_size.values():
        most = min(MOST, -(-len(same) // (workers or 1)))
        groups += [same[start : start + most] for start in range(0, len(same), most)]
    return groups


def train_stack(
    spec: Spec,
    examples: Examples,
    members: Sequence[Member],
    *,
    config: TrainConfig,
    last: LastSteps | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> list[Artifact]:
    """Train all members as one, and write the artefacts that `train` makes of each by itself, up to rounding.

    Where a member is missing, all are trained, since a model's last bits may depend on those beside it in the stack;
    artefacts that are there already stay as they are. Raises InputError unless all members have the same number of
    indices and the same budget, and where a training diverges.
    """
    if len({(len(member.indices), member.budget) for member in members}) > 1:
        raise InputError("the runs of a stack must have the same number of examples; train others by themselves")
    if all(is_artifact(member.out) for member in members):
        return [open_artifact(member.out, "model") for member in members]
    config = config.settled(spec, examples)
    options: dict[str, Any] = {"config": config, "last": last, "device": device, "progress": progress}
    if len(members) < 2 or not can_stack(spec, config):
        return [
            train(spec, examples, out=m.out, seed=m.seed, indices=m.indices, budget=m.budget, **options)
            for m in members
        ]
    with private_randomness():
        trainers = _train(spec, examples, members, **options)
    for member, trainer in zip(members, trainers, strict=True):
        if is_artifact(member.out):
            continue

        def write(draft: Draft, trainer: Trainer = trainer) -> dict[str, Any]:
            save_model(trainer.state.model, spec, draft)
            return trainer.facts()

        indices = check_indices(member.indices, len(examples))
        drawn = {"indices": indices, "budget": member.budget, "last": last}
        build(Path(member.out), write=write, **request_of(spec, examples, config, seed=member.seed, **drawn))
    return [open_artifact(member.out, "model") for member in members]


@full_float32()
def _train(
    spec: Spec,
    examples: Examples,
    members: Sequence[Member],
    *,
    config: TrainConfig,
    last: LastSteps | None,
    device: str,
    progress: Progress,
) -> list[Trainer]:
    trainers = []
    for member in members:
        indices = check_indices(member.indices, len(examples))
        order = Order(examples, indices, None, config, seed=member.seed, budget=member.budget)
        trainers.append(Trainer(spec, examples, order, config, seed=member.seed, weights=None, device=device))
        if last is not None:
            trainers[-1].measure(last)
    first, num_steps = trainers[0], trainers[0].order.num_steps
    stack = _Stack(trainers, config)
    losses = torch.zeros(num_steps, len(trainers), device=first.device)
    looks = [] if last is None else last.steps(num_steps)
    start = time.perf_counter()
    with progress.task(f"train {len(trainers)} at once", num_steps) as advance:
        for step in range(num_steps):
            drawn = [trainer.order.batch(step).batch for trainer in trainers]
            parts = {name: torch.stack([batch[name] for batch in drawn]).to(first.device) for name in drawn[0]}
            losses[step] = stack.step(parts, first.peak * config.rate(step, num_steps))
            if step + 1 in looks:
                stack.unstack(trainers)
                for trainer in trainers:
                    trainer.look(step + 1)
            advance(1)
    seconds = (time.perf_counter() - start) / len(trainers)
    stack.unstack(trainers)
    for trainer, losses_of_one in zip(trainers, losses.T, strict=True):
        trainer.finish(losses_of_one, seconds)
    return trainers


class _Stack:
    """The parameters of several trainers' models, stacked along a first dimension, and their one optimiser."""

    def __init__(self, trainers: Sequence[Trainer], config: TrainConfig) -> None:
        self.config, self.device, self.precision = config, trainers[0].device, trainers[0].precision
        models = [trainer.state.model for trainer in trainers]
        self.objective = trainers[0].objective
        self.parameters = {
            name: torch.stack([model.get_parameter(name).detach() for model in models]).requires_grad_()
            for name, _ in models[0].named_parameters()
        }
        matrices = {name for name, parameter in models[0].named_parameters() if parameter.ndim >= 2}
        groups = {
            Group(is_matrix): [value for name, value in self.parameters.items() if (name in matrices) == is_matrix]
            for is_matrix in (True, False)
        }
        self.optimizer = config.optimizer_of(groups, trainers[0].peak)

    def step(self, batch: dict[str, Tensor], rate: float) -> Float[Tensor, "m"]:
        """Take one step of every member on its own part of `batch`, whose tensors are [m, b, ..]; return the losses."""

        def loss(parameters: dict[str, Tensor], part: dict[str, Tensor]) -> Tensor:
            named = {f"model.{name}": value for name, value in parameters.items()}
            return torch.func.functional_call(self.objective, named, (part, None, None))

        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            losses = torch.func.vmap(loss)(self.parameters, batch)
        losses.sum().backward()
        if self.config.clip is not None:
            self._clip(self.config.clip)
        self.optimizer.step()
        return losses.detach()

    def unstack(self, trainers: Sequence[Trainer]) -> None:
        """Copy the parameters of every member into its own model."""
        with torch.no_grad():
            for name, values in self.parameters.items():
                for trainer, value in zip(trainers, values, strict=True):
                    trainer.state.model.get_parameter(name).copy_(value)

    def _clip(self, most: float) -> None:
        """The norm of each member's whole gradient to at most `most`, as `clip_grad_norm_` does for one."""
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        norms = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0).sqrt()
        factors = (most / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient *= factors.view(-1, *[1] * (gradient.ndim - 1))
