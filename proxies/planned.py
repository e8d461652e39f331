"""What trainings to come will take on this machine, said before they begin: how many, time, memory, disk.

A step of the smallest unit is timed, so the numbers are wide: other work on the machine, and how well processes share
its cores, are not known beforehand.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from thresher.data.examples import Examples
from thresher.devices import autocast, pick_device
from thresher.executors.workers import num_workers
from thresher.memory import FRESH, Held, of_process
from thresher.outputs import Batch
from thresher.proxies.models.spec import Spec, build_model, private_randomness
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.objective import objective_of
from thresher.proxies.training.order import sequence_size
from thresher.proxies.training.stacked import can_stack
from thresher.shown import duration, size_of
from thresher.workspace import Workspace

FAST, SLOW = 0.7, 2.0
"""What the time of a training is between, as multiples of what the timed steps say."""
STACKED = 0.1
"""As FAST, where small models are trained as one."""
SHORT = 0.1
"""Seconds that timed steps take together before they are believed."""
START_SECONDS = (2.0, 15.0)
"""Until processes have loaded what they need, between."""
ACTIVATIONS = 2.0
"""Memory of a step's activations, as multiples of what is kept for its backward pass."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """Trainings of one kind that are to come."""

    settings: ModelSettings
    units: Sequence[float]
    """Of each, the tokens (images) of an epoch."""
    keeps: bool = True
    """Whether their weights stay on disk."""


@dataclass(frozen=True)
class Cost:
    """What one kind of model takes: seconds for a token (image), bytes in memory beside those that a process has
    anyway, bytes of weights on disk.
    """

    seconds: float
    memory: float
    weights: float
    epochs: float
    num_tokens: int | None
    """What a training sees in all, where that is not a number of epochs."""
    stacks: bool

    def units(self, of_an_epoch: float) -> float:
        """Tokens (images) of a whole training, from those of an epoch."""
        return self.epochs * of_an_epoch if self.num_tokens is None else self.num_tokens


def say_planned(planned: Sequence[Planned], pool: Examples, *, workers: int | None, workspace: Workspace) -> None:
    """Log, as information, one line about trainings on a pool; nothing where there are none, or nobody listens."""
    planned = [kind for kind in planned if len(kind.units)]
    if not planned or not log.isEnabledFor(logging.INFO):
        return
    at_once = num_workers(workers, workspace.device, workspace.executor)
    alike = [replace(kind.settings, learning_rate=None) for kind in planned]  # a rate costs nothing
    process, costs_of = of_process(), {}
    for settings in dict.fromkeys(alike):
        spec = spec_of(settings, pool)
        costs_of[settings] = cost_of(spec, train_config_of(settings, spec, pool), pool, workspace.device)
    costs = [costs_of[settings] for settings in alike]
    low = high = 0.0
    for kind, cost in zip(planned, costs, strict=True):
        seconds = cost.seconds * sum(map(cost.units, kind.units))
        # Several processes share the cores that one was timed on: at best each is as fast as it was alone.
        low += seconds * (STACKED if cost.stacks else FAST) / min(at_once or 1, len(kind.units))
        high += seconds * SLOW
    if at_once != 1:
        low, high = low + START_SECONDS[0], high + START_SECONDS[1]
    memory = 0.0
    for kind, cost in zip(planned, costs, strict=True):
        count = min(at_once or 1, len(kind.units))
        # Processes of their own have the libraries once more each.
        memory = max(memory, process + count * cost.memory + (0 if at_once == 1 else count * FRESH))
    disk = sum(cost.weights * len(kind.units) for kind, cost in zip(planned, costs, strict=True) if kind.keeps)
    log.info(
        "to come: %s; about %s on this machine, %s of memory, %s on disk",
        _counted(planned, at_once), span(low, high), size_of(memory), size_of(disk),
    )  # fmt: skip


def say_training(spec: Spec, config: TrainConfig, unit: float, pool: Examples, device: str = "auto") -> None:
    """Log, as information, one line about a training in this process; `unit` as in `Planned`."""
    if not log.isEnabledFor(logging.INFO):
        return
    process = of_process()
    cost = cost_of(spec, config, pool, device)
    seconds = cost.seconds * cost.units(unit)
    log.info(
        "to come: 1 training; about %s on this machine, %s of memory, %s on disk",
        span(seconds * FAST, seconds * SLOW), size_of(process + cost.memory), size_of(cost.weights),
    )  # fmt: skip


def _counted(planned: Sequence[Planned], at_once: int | None) -> str:
    """How many trainings of which models, and how many at once."""
    counts: dict[str, int] = {}
    for kind in planned:
        counts[kind.settings.size] = counts.get(kind.settings.size, 0) + len(kind.units)
    total = sum(counts.values())
    noun = f"{total:,} training{'s' * (total != 1)}"
    if len(counts) == 1:
        line = f"{noun} of {next(iter(counts))}"
    else:
        line = f"{noun} ({', '.join(f'{count:,} of {size}' for size, count in counts.items())})"
    if total == 1 or at_once == 1:
        return line
    return f"{line}, {f'{min(at_once, total)} at once' if at_once else 'as many at once as the cluster can'}"


def span(low: float, high: float) -> str:
    """A range of seconds as a person says it: 3 to 8 min."""
    first, last = duration(low), duration(high)
    if first == last:
        return first
    return f"{first.split()[0]} to {last}" if first.split()[1] == last.split()[1] else f"{first} to {last}"


def cost_of(spec: Spec, config: TrainConfig, pool: Examples, device: str = "auto") -> Cost:
    """What training such a model on a pool takes, from timed steps on a batch of its examples of middle length."""
    place = pick_device(device)
    # Compiling takes longer than what it saves here.
    config = replace(config, compile=False, precision=config.precision_on(spec, place))
    lengths = np.asarray(pool.windows.lengths)
    count = min(max(1, config.batch_size // config.accumulate), len(lengths))
    members = np.argsort(lengths, kind="stable")[-len(lengths) // 2 :][:count]
    longest = float(lengths.max() / lengths[members].max())
    batch = {name: tensor.to(place) for name, tensor in pool.batch(members).items()}
    with private_randomness():
        model = build_model(spec, 0).to(place).train()
        step, held = _step_of(model, objective_of(model, spec, config, place), config, batch)
        with torch.autograd.graph.saved_tensors_hooks(held.keep, lambda tensor: tensor):
            step()
        begun, steps = time.perf_counter(), 0
        while not steps or time.perf_counter() - begun < SHORT:
            step()
            steps += 1
        seconds = time.perf_counter() - begun
    numbers = sum(parameter.numel() for parameter in model.parameters())
    return Cost(
        seconds=seconds / steps / float(lengths[members].sum()),
        memory=16.0 * numbers + ACTIVATIONS * held.bytes * longest,  # weights, gradients, two moments
        weights=numbers * (12.0 if config.keep_optimizer else 4.0),
        epochs=config.epochs,
        num_tokens=config.num_units(0, sequence_size(pool)) if config.steps or config.num_tokens else None,
        stacks=can_stack(spec, config),
    )


def _step_of(model: nn.Module, objective: nn.Module, config: TrainConfig, batch: Batch) -> tuple[Callable, Held]:
    """A step of training that changes nothing that is kept, and what will have been held for it."""
    device, optimizer = next(model.parameters()).device, config.make_optimizer(model, 0.0)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(device, config.precision):
            loss = objective(batch, None, None)
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for the device

    return step, Held()
