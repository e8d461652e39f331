"""What scoring will take on this machine, said before it begins: passes, needs, and time from a pass that is timed."""

import logging
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from thresher.artifacts import is_artifact, open_artifact
from thresher.attribution.gradients.projection import usual
from thresher.attribution.gradients.views import combinations
from thresher.data.batches import Part, all_of
from thresher.devices import pick_device
from thresher.outputs import logits_of, outputs_of
from thresher.scorers import KERNEL, SCORERS, Work, said_before
from thresher.studies.scoring.basis import Basis

SHORT = 0.2
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
    own = basis.settings
    work = Work(
        num_examples=len(basis.pool),
        num_models=basis.num_models,
        num_targets=min(num_targets, own.rank or num_targets),
        each=each,
        sample=own.sample,
        steps=own.steps,
        views=len(combinations(own.views)),
    )
    seconds = None
    if SCORERS[name].passes and basis.num_models:
        seconds = seconds_of_a_pass(basis.loaders[0][1](), all_of(basis.pool, own.batch_tokens), basis.workspace.device)
        if "training" in SCORERS[name].needs:
            seconds *= _epochs(basis)
    more = 0.0 if seconds is None else seconds_of_kernels(name, basis)
    log.info("%s", said_before(name, work, seconds, more=more, note=note))


def seconds_of_a_pass(model: nn.Module, part: Part, device: str = "auto") -> float:
    """What a forward and backward pass over a part takes, about: from its middle batch, or as much of that as is slow.

    Twice as many windows are read each time until reading them takes SHORT, so that a large model is timed on two and a
    small one on a batch that is worth it.
    """
    place, lengths = pick_device(device), np.asarray(part.examples.windows.lengths)
    model = model.to(place).eval()
    batches = list(part.memberships())
    members, count = batches[len(batches) // 2], 2
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    while True:
        some = members[:count]
        begun = time.perf_counter()
        batch = {key: value.to(place) for key, value in part.batch(some).items()}
        with torch.enable_grad():
            loss = outputs_of(logits_of(model, batch), batch["labels"]).loss.mean()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        float(next(gradient for gradient in gradients if gradient is not None).sum())  # waits for the device
        seconds = time.perf_counter() - begun
        if seconds >= SHORT or count >= len(members):
            share = lengths[part.numbers(some)].sum() / max(1, lengths[part.numbers(np.arange(part.num_windows))].sum())
            return seconds / share
        count *= 2


def seconds_of_kernels(name: str, basis: Basis) -> float:
    """What the k x k kernels of projected gradients take, about: their sums, factors, and whitened rows of the pool."""
    if SCORERS[name].damping != KERNEL or name in ("dual", "direction"):
        return 0.0
    k = usual(basis.settings.projection, basis.settings.k, is_classified=basis.pool.is_classified)[1]
    products = 2 if name == "trackstar" else 1
    operations = basis.num_models * (2.0 * products * len(basis.pool) * k**2 + k**3)
    matrix = torch.ones(TIMED, TIMED, dtype=torch.float64)
    begun = time.perf_counter()
    torch.mm(matrix, matrix)
    return operations * (time.perf_counter() - begun) / (2.0 * TIMED**3)


def _epochs(basis: Basis) -> float:
    """How often the first model's training read its pool; 1 where it does not say."""
    facts = open_artifact(Path(basis.models[0]), "model").facts
    seen = facts.get("num_tokens_seen", facts.get("num_examples_seen"))
    return seen / max(1, int(np.asarray(basis.pool.lengths()).sum())) if seen else 1.0
