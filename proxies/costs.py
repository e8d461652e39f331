"""What training and attribution cost, in floating-point operations: one model of cost, and what it counts.

A multiply-add is 2. Costs add up over these parts, where p is the number of parameters, T the tokens of a sequence (1
for an image), k the features of an example, n and m the numbers of pool and target examples:

    part              measured (`selection_flops`)                closed form (`attribution_flops`)
    training          (2 + trained share) x forward, a unit seen  6 p a token seen (`training_flops`)
    gradients         as training, a unit of pool and targets     6 p T (n + m)
    projection        not counted                                 2 k p (n + m), a dense matrix
    kernel, scores    2 k n (k + vectors solved for) + k^3        4 k^2 n + k^3

Every cost that a study reports is measured: a forward pass is counted from the shapes of its matrix products, attention
included (`proxies.flops`), and all is summed over the proxies, each a checkpoint. The closed form is Small-to-Large's
model (arXiv 2505.16260, appendix on compute) of one checkpoint, which needs no model at hand: for costs of runs that
are only planned. They differ in attention and in projection, so compare only costs of one kind.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from thresher.artifacts import Artifact
from thresher.data.examples import Examples, is_packed
from thresher.outputs import Batch, logits_of
from thresher.proxies.flops import counting_flops


def forward_flops(model: nn.Module, batch: Batch) -> int:
    """FLOPs of one forward pass of `batch`, from the shapes of its matrix products (`proxies.flops`)."""
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
    """FLOPs of training on one token of text, or on one image.

    A backward pass costs two forward passes: one for the gradients of the activations, and one for those of the
    parameters, as far as these are trained.
    """
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained) / sum(count for count, _ in counts)
    batch, num_units = longest_sequence(examples)
    return (2 + trained) * forward_flops(model, batch) / num_units


def longest_sequence(examples: Examples) -> tuple[Batch, int]:
    """A batch of the longest sequence that a model of `examples` is trained on, and its length in tokens (1: an image).

    Of packed text that is a full sequence.
    """
    if is_packed(examples):
        tokens = torch.full((1, examples.sequence_length), examples.layout.end_token)
        return {"input_ids": tokens, "labels": tokens}, examples.sequence_length
    lengths = examples.windows.lengths
    return examples.batch([int(lengths.argmax())]), int(lengths.max())


def selection_flops(
    proxies: Sequence[Artifact],
    *,
    pool: Examples,
    targets: Mapping[str, Examples],
    k: int | None,
    num_solved: int | None = None,
    passes: float = 0.0,
    trainings: float = 0.0,
) -> dict[str, float]:
    """FLOPs of a selection by stage, as measured: `train` the proxies, `featurize` pool and targets, `score` the pool.

    k: features of an example; None where nothing was featurised. num_solved: the vectors that the kernel is solved for;
    None: one a target set. Without features scoring takes so many `passes` over the pool a proxy, and `trainings` of it
    a target.
    """
    flops = {"train": float(sum(proxy.facts["flops"] for proxy in proxies))}
    a_unit = sum(proxy.facts["flops"] / units_seen(proxy) for proxy in proxies)
    if passes or trainings:
        flops["score"] = passes * a_unit * float(pool.lengths().sum()) + trainings * len(targets) * flops["train"]
    elif k is not None:
        flops["featurize"] = a_unit * float(sum(examples.lengths().sum() for examples in (pool, *targets.values())))
        solved = len(targets) if num_solved is None else num_solved
        flops["score"] = len(proxies) * (2.0 * len(pool) * k * (k + solved) + k**3)
    return flops


def units_seen(model: Artifact) -> int:
    """Tokens, or images, that the model of an artefact was trained on, repetitions counted."""
    facts = model.facts
    return facts["num_tokens_seen"] if "num_tokens_seen" in facts else facts["num_examples_seen"]


def training_flops(num_parameters: int, num_tokens: int) -> int:
    """FLOPs of training by the closed form, `6 p` a token: the usual estimate, without attention."""
    return 6 * num_parameters * num_tokens


def attribution_flops(num_parameters: int, sequence_length: int, num_train: int, num_test: int, dimension: int) -> int:
    """FLOPs of attribution with one checkpoint by the closed form, from gradients to scores.

    `(6 p T + 4 k^2 + 2 k p) n + 2 p (3 T + k) m + k^3` (Small-to-Large, arXiv 2505.16260, appendix on compute), where
    p is `num_parameters`, T `sequence_length`, n `num_train`, m `num_test` and k `dimension`.
    """
    p, k, num_examples = num_parameters, dimension, num_train + num_test
    gradients = training_flops(p, sequence_length * num_examples)
    projection = 2 * k * p * num_examples
    kernel_and_scores = 4 * k**2 * num_train + k**3
    return gradients + projection + kernel_and_scores
