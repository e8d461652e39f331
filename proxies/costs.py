"""Floating-point operations: measured of a model, and Small-to-Large's model of training and attribution."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from thresher.artifacts import Artifact
from thresher.data.examples import Examples, TokenExamples
from thresher.outputs import Batch, logits_of
from thresher.proxies.flops import counting_flops


def forward_flops(model: nn.Module, batch: Batch) -> int:
    """FLOPs of one forward pass of `batch`, from the shapes of its matrix products (`flops`); a multiply-add is 2."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with counting_flops() as count:
            logits_of(model, {name: tensor.to(device) for name, tensor in batch.items()})
    finally:
        model.train(training)
    return count.total


def training_flops_per_unit(model: nn.Module, examples: Examples) -> float:
    """FLOPs of training on one token of text, or one image: a backward pass costs two forward passes, one of them for
    the gradients of the parameters, as far as these are trained."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained) / sum(count for count, _ in counts)
    batch, num_units = longest_sequence(examples)
    return (2 + trained) * forward_flops(model, batch) / num_units


def longest_sequence(examples: Examples) -> tuple[Batch, int]:
    """The longest that a model is trained on at once: of packed text a full sequence; and how many tokens (1 image)."""
    if isinstance(examples, TokenExamples) and examples.layout.packed:
        tokens = torch.full((1, examples.sequence_length), examples.layout.end_token)
        return {"input_ids": tokens, "labels": tokens}, examples.sequence_length
    lengths = examples.windows.lengths
    return examples.batch([int(lengths.argmax())]), int(lengths.max())


def training_flops(num_parameters: int, num_tokens: int) -> int:
    """6 p T n: the usual estimate, without attention (Small-to-Large, appendix on compute)."""
    return 6 * num_parameters * num_tokens


def attribution_flops(num_parameters: int, sequence_length: int, num_train: int, num_test: int, dimension: int) -> int:
    """`(6 p T + 4 k^2 + 2 k p) n + 2 p (3 T + k) n_test + k^3`, of one checkpoint, from gradients to scores."""
    p, t, k = num_parameters, sequence_length, dimension
    return (6 * p * t + 4 * k**2 + 2 * k * p) * num_train + 2 * p * (3 * t + k) * num_test + k**3


def selection_flops(
    proxies: Sequence[Artifact], *, pool: Examples, targets: Mapping[str, Examples], k: int | None
) -> dict[str, float]:
    """Of training the proxies, featurising pool and targets, and scoring; the last two with features alone (`k`).

    Featurising is a forward and a backward pass over every token (image), like training; scoring builds and factors a
    k x k kernel a checkpoint and multiplies the pool by one vector a target.
    """
    flops = {"train": float(sum(proxy.facts["flops"] for proxy in proxies))}
    if k is not None:
        a_unit = sum(proxy.facts["flops"] / units_seen(proxy) for proxy in proxies)
        flops["featurize"] = a_unit * float(sum(one.lengths().sum() for one in (pool, *targets.values())))
        flops["score"] = len(proxies) * (2.0 * len(pool) * k * (k + len(targets)) + k**3)
    return flops


def units_seen(model: Artifact) -> int:
    """Tokens, or images, that a model was trained on, repetitions counted."""
    facts = model.facts
    return facts["num_tokens_seen"] if "num_tokens_seen" in facts else facts["num_examples_seen"]
