"""Floating-point operations: measured of a model, and Small-to-Large's model of training and attribution."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from thresher.data.examples import Examples
from thresher.outputs import logits_of


def forward_flops(model: nn.Module, examples: Examples) -> int:
    """FLOPs of one forward pass of the longest of `examples`, counted operation by operation (a multiply-add is 2)."""
    longest = int(examples.windows.lengths.argmax())
    batch = examples.batch([longest])
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits_of(model, {name: tensor.to(device) for name, tensor in batch.items()})
    model.train(training)
    return counter.get_total_flops()


def training_flops_per_unit(model: nn.Module, examples: Examples) -> float:
    """FLOPs of training on one token of text, or one image: a backward pass costs two forward passes, one of them for
    the gradients of the parameters, as far as these are trained."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained) / sum(count for count, _ in counts)
    return (2 + trained) * forward_flops(model, examples) / float(examples.windows.lengths.max())


def training_flops(num_parameters: int, num_tokens: int) -> int:
    """6 p T n: the usual estimate, without attention (Small-to-Large, appendix on compute)."""
    return 6 * num_parameters * num_tokens


def attribution_flops(num_parameters: int, sequence_length: int, num_train: int, num_test: int, dimension: int) -> int:
    """`(6 p T + 4 k^2 + 2 k p) n + 2 p (3 T + k) n_test + k^3`, of one checkpoint, from gradients to scores."""
    p, t, k = num_parameters, sequence_length, dimension
    return (6 * p * t + 4 * k**2 + 2 * k * p) * num_train + 2 * p * (3 * t + k) * num_test + k**3
