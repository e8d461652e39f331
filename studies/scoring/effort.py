"""What scoring will take on this machine, said before it begins: passes, needs, and time from a pass that is timed."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thresher.artifacts import is_artifact, open_artifact
from thresher.attribution.gradients.projection import usual
from thresher.attribution.gradients.views import combinations
from thresher.data.batches import Part, all_of
from thresher.data.examples import Examples
from thresher.devices import pick_device
from thresher.memory import Held, of_process
from thresher.outputs import logits_of, outputs_of
from thresher.proxies.models.weights import Loaders
from thresher.scorers import KERNEL, SCORERS, Work, said_before
from thresher.shown import duration, size_of
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.studies.scoring.memory import memory_of

SHORT = 0.1
"""Seconds that a timed batch may take before it is large enough to be believed."""
TIMED = 1024
"""Rows of the product that a machine is timed on."""
log = logging.getLogger(__name__)


def say_effort(
    name: str, basis: Basis, *, num_targets: int, each: bool = False, out: Path | None = None, note: str = ""
) -> None:
    """Log, as information, one line about what the scorer called `name` takes; nothing where `out` is there already.

    `num_targets`: columns of scores, with `each` of single target examples.
    """
    if (out is not None and is_artifact(out)) or not log.isEnabledFor(logging.INFO):
        return
    own, memory = basis.settings, of_process()
    work = Work(
        num_examples=len(basis.pool),
        num_models=basis.num_models,
        num_targets=min(num_targets, own.rank or num_targets),
        each=each,
        sample=own.sample,
        steps=own.steps,
        views=len(combinations(own.views)),
    )
    seconds, more = None, 0.0
    if SCORERS[name].passes and basis.num_models:
        model = basis.loaders[0][1]()
        timed = pass_over(model, all_of(basis.pool, own.batch_tokens), basis.workspace.device)
        seconds = timed.seconds * (_epochs(basis) if "training" in SCORERS[name].needs else 1.0)
        more = seconds_of_kernels(name, basis)
        steps = _facts(basis).get("num_steps", 0) if "training" in SCORERS[name].needs else 0
        memory += memory_of(name, work, own, model, timed.held, k=_k(basis), positions=_positions(basis), steps=steps)
    log.info("%s", said_before(name, work, seconds, more=more, memory=memory, note=note))


def say_pass(
    models: Loaders,
    examples: Examples,
    projection: str,
    k: int | None,
    *,
    batch_tokens: int | None,
    device: str,
    out: Path,
) -> None:
    """Log, as information, one line about a pass for features; nothing where they are there already."""
    if is_artifact(out) or not log.isEnabledFor(logging.INFO):
        return
    k, memory, model = usual(projection, k, is_classified=examples.is_classified)[1], of_process(), models[0][1]()
    timed = pass_over(model, all_of(examples, batch_tokens), device)
    work = Work(num_examples=len(examples), num_models=len(models))
    memory += memory_of("grad-cosine", work, Attribution(), model, timed.held, k=k)
    log.info(
        "to come: a pass over %s examples under %d model%s; about %s on this machine, %s of memory at most, %s on disk",
        f"{len(examples):,}", len(models), "s" * (len(models) != 1), duration(timed.seconds * len(models)),
        size_of(memory), size_of(2.0 * k * len(examples) * len(models)),
    )  # fmt: skip


@dataclass(frozen=True)
class Pass:
    """What a forward and backward pass takes."""

    seconds: float
    held: float
    """Bytes kept for the backward pass of the largest batch."""


def pass_over(model: nn.Module, part: Part, device: str = "auto") -> Pass:
    """What a pass over a part takes, about: from its middle batch, or as much of that as is slow.

    Twice as many windows are read each time until reading them takes SHORT, so that a large model is timed on two and a
    small one on a batch that is worth it.
    """
    place, lengths = pick_device(device), np.asarray(part.examples.windows.lengths)
    model = model.to(place).eval()
    batches = list(part.memberships())
    members, count = batches[len(batches) // 2], 2
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def padded(members: np.ndarray) -> float:
        return len(members) * float(lengths[part.numbers(members)].max())

    while True:
        some, held = members[:count], Held()
        begun = time.perf_counter()
        batch = {key: value.to(place) for key, value in part.batch(some).items()}
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(held.keep, lambda tensor: tensor):
            loss = outputs_of(logits_of(model, batch), batch["labels"]).loss.mean()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        float(next(gradient for gradient in gradients if gradient is not None).sum())  # waits for the device
        seconds = time.perf_counter() - begun
        if seconds >= SHORT or count >= len(members):
            share = lengths[part.numbers(some)].sum() / max(1, lengths[part.numbers(np.arange(part.num_windows))].sum())
            return Pass(seconds / share, held.bytes * max(map(padded, batches)) / padded(some))
        count *= 2


def seconds_of_kernels(name: str, basis: Basis) -> float:
    """What the k x k kernels of projected gradients take, about: their sums, factors, and whitened rows of the pool."""
    if SCORERS[name].damping != KERNEL or name in ("dual", "direction"):
        return 0.0
    k = _k(basis)
    products = 2 if name == "trackstar" else 1
    operations = basis.num_models * (2.0 * products * len(basis.pool) * k**2 + k**3)
    matrix = torch.ones(TIMED, TIMED, dtype=torch.float64)
    begun = time.perf_counter()
    torch.mm(matrix, matrix)
    return operations * (time.perf_counter() - begun) / (2.0 * TIMED**3)


def _epochs(basis: Basis) -> float:
    """How often the first model's training read its pool; 1 where it does not say."""
    facts = _facts(basis)
    seen = facts.get("num_tokens_seen", facts.get("num_examples_seen"))
    return seen / max(1, int(np.asarray(basis.pool.lengths()).sum())) if seen else 1.0


def _facts(basis: Basis) -> Mapping[str, Any]:
    """What the first model's training says of itself."""
    return open_artifact(Path(basis.models[0]), "model").facts


def _positions(basis: Basis) -> float:
    """Tokens of an example, the mean; 1 of an image, whose layers have positions of their own."""
    return float(np.asarray(basis.pool.lengths()).mean())


def _k(basis: Basis) -> int:
    """Numbers of a feature."""
    return usual(basis.settings.projection, basis.settings.k, is_classified=basis.pool.is_classified)[1]
