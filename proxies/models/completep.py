"""CompleteP: a learning rate that holds for every width and depth of the ladder (Dey et al. 2025, 2505.01618, table 1).

With w and d the width and depth relative to the base rung, alpha = 1 and AdamW, a model has

    residual branches   x + 1/d * branch
    hidden matrices     initial values sigma / sqrt(w), rate 1/w, decay w
    logits              1/w * output matrix
    embeddings          as at the base rung, and so are the rates of vectors

A plain `transformers` model has none of these factors, so they stand in its weights. A factor s on a weight u is the
weight v = s u with initial values, rate and AdamW's decay and eps times s, s, 1/s and 1/s; `1/d` goes into the
projections at the end of each branch (matrix and bias), `1/w` into the last norm. Under AdamW and SGD every step is
then that of the model with factors, with two exceptions: the norm that clips a whole gradient is that of v, and the
attention's logits are divided by the root of the head's size as in `transformers` (in the ladder it is 16, 32 or 64).

AdamW's eps goes with the size of a gradient, 1/w and in branches 1/d (2512.22382 corrects 2505.01618 for embeddings).
SGD's step has that size too, so its rate is AdamW's divided by it. Rate times decay is the same for every matrix.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import nn

BASE_WIDTH, BASE_DEPTH = 64, 2
"""The rung at which every factor is 1."""
SIGMA = 0.02
"""Standard deviation of initial values there: that of `transformers`."""
LEARNING_RATE, UNSHUFFLED = 3.5e-3, 2e-3
"""AdamW's peak rate there (`learning_rate`), and at any depth where sequences are not shuffled."""
LAST_NORMS = ("ln_f", "norm", "final_layer_norm")
BRANCH_ENDS = ("c_proj", "o_proj", "down_proj", "dense", "dense_4h_to_h")
LAYERS = ("h", "layers")


class Scale(NamedTuple):
    """What AdamW's settings are multiplied by for one parameter; its decay is divided by `rate`."""

    rate: float = 1.0
    eps: float = 1.0

    @property
    def sgd(self) -> float:
        """What SGD's rate is multiplied by, and its decay divided by."""
        return self.rate / self.eps


def learning_rate(depth: int, *, is_shuffled: bool = True) -> float:
    """AdamW's peak rate at any width, batch size and length of training; it goes with the root of the depth.

    That of the base rung is the best there, and the root is no part of the paper, in which one rate serves every depth:
    measured, the best rate rose with depth at every width, and with length (`docs/training.md`). Of three digits, so
    that a rate that is read and given back is the same run. Batches of neighbouring sequences, which are of few
    documents, take less (`UNSHUFFLED`; docs/log.md, 2026-11-29).
    """
    if not is_shuffled:
        return UNSHUFFLED
    return float(f"{LEARNING_RATE * math.sqrt(depth / BASE_DEPTH):.3g}")


def parametrize(model: Any, *, width: int, depth: int) -> None:
    """Draw the matrices inside of the layers of a ladder model anew, from the global generator, and set its scales.

    The scale of every parameter stays with the model as `scales`, by name; weights that are loaded keep them.
    """
    w, d = width / BASE_WIDTH, depth / BASE_DEPTH
    model.scales = {name: _scale(name, w, d, parameter.ndim) for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _is_last_norm(name):
                parameter /= w
            elif _in_layer(name) and parameter.ndim >= 2:
                nn.init.normal_(parameter, std=SIGMA / w**0.5 / (d if _ends_branch(name) else 1.0))


def _scale(name: str, w: float, d: float, ndim: int) -> Scale:
    if _is_last_norm(name):
        return Scale(rate=1 / w)
    if not _in_layer(name):
        return Scale(eps=1 / w)
    rate = 1 / w if ndim >= 2 else 1.0
    return Scale(rate / d, 1 / w) if _ends_branch(name) else Scale(rate, 1 / (w * d))


def _in_layer(name: str) -> bool:
    return any(part in LAYERS for part in name.split(".")[:2])


def _ends_branch(name: str) -> bool:
    return name.split(".")[-2] in BRANCH_ENDS


def _is_last_norm(name: str) -> bool:
    return not _in_layer(name) and name.split(".")[-2] in LAST_NORMS
