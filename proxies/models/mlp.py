"""A multi-layer perceptron over everything flattened: for tables, and the smallest vision proxy."""

import math
import re

from torch import nn

from thresher.errors import InputError


def mlp(num_inputs: int, num_classes: int, *, width: int, depth: int) -> nn.Sequential:
    """A perceptron of `depth` hidden layers of `width` units with ReLU, then a linear layer; inputs are flattened."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in [num_inputs, *[width] * (depth - 1)][:depth]:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width if depth else num_inputs, num_classes))


def parse_mlp(text: str) -> tuple[int, int]:
    """Width and number of hidden layers of `64x2`: (64, 2); 0 layers is logistic regression. Raises InputError."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or int(match[1]) < 1:
        raise InputError(f"'mlp-{text}' is not an MLP; write mlp-WIDTHxLAYERS, for example mlp-64x2")
    return int(match[1]), int(match[2])


def num_inputs_of(shape: tuple[int, ...]) -> int:
    """How many numbers an input of `shape` is flattened to."""
    return math.prod(shape)
