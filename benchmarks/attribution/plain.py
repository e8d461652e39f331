"""The pass that features are measured against: what a training step does without its optimiser."""

import torch.nn.functional as F
from torch import nn

from thresher.outputs import Batch, logits_of


def plain_step(model: nn.Module, batch: Batch) -> None:
    """Forward and backward of the mean cross-entropy of `batch`, gradients of all parameters."""
    logits, labels = logits_of(model, batch), batch["labels"]
    if logits.ndim == 3:
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    F.cross_entropy(logits, labels).backward()
    for parameter in model.parameters():
        parameter.grad = None
