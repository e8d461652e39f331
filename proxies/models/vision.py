"""`RN-k`: ResNet-18 with all its widths multiplied by k, for small images (Small-to-Large's vision ladder).

In the maximal-update parametrisation (Tensor Programs V, arXiv 2203.03466, table 3, SGD), with w the width relative to
RN-1/16: the last layer starts smaller by sqrt(w) and learns at 1/w of the rate; the first layer and the norms, which
are vectors of the width, at w times. So activations move alike at every width, and one learning rate serves all.
"""

from fractions import Fraction

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from thresher.errors import InputError


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, as in He et al. 2015 (arXiv 1512.03385), figure 5 left."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.shortcut = stride, nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b inputs h w"]) -> Float[Tensor, "b outputs h2 w2"]:
        """The block's output; height and width are divided by the stride and rounded up."""
        hidden = F.relu(self.bn1(self.conv1(x)))
        # The shortcut's stride is taken here: the gradient of a 1x1 convolution with one writes past its memory in
        # torch 2.15 on a CPU (channels last, a batch that the threads do not divide).
        skipped = x if self.stride == 1 else F.avg_pool2d(x, 1, self.stride)
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(skipped))


BASE = Fraction(1, 16)
"""The width at which the parametrisation is torch's own."""


class ResNet18(nn.Module):
    """A 3x3 stem without max-pool, four stages of two blocks with 64k, 128k, 256k, 512k channels, mean, linear."""

    def __init__(self, multiplier: Fraction, *, num_classes: int, num_channels: int = 3):
        super().__init__()
        first = max(1, round(64 * multiplier))
        self.stem = nn.Conv2d(num_channels, first, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(first)
        blocks, width = [], first
        for stage in range(4):
            outputs = first * 2**stage
            blocks += [Block(width, outputs, stride=1 if stage == 0 else 2), Block(outputs, outputs, stride=1)]
            width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, num_classes)
        self.relative_width = float(first / (64 * BASE))
        with torch.no_grad():
            self.head.weight /= self.relative_width**0.5

    def rate_multipliers(self) -> dict[str, float]:
        """What the learning rate of each parameter is multiplied by, where the parametrisation says so."""
        vectors = [name for name, parameter in self.named_parameters() if parameter.ndim < 2 and name != "head.bias"]
        return dict.fromkeys(["stem.weight", *vectors], self.relative_width) | {"head.weight": 1 / self.relative_width}

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        """The logits of images of any height and width."""
        images = images.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        hidden = self.blocks(F.relu(self.bn(self.stem(images))))
        return self.head(hidden.mean(dim=(2, 3)))


def parse_multiplier(text: str) -> Fraction:
    """The multiplier of `rn-1/16` from its text, `1/16`; raises InputError outside of 1/64 (one channel) to 16."""
    try:
        multiplier = Fraction(text)
    except (ValueError, ZeroDivisionError):
        multiplier = Fraction(0)
    if not Fraction(1, 64) <= multiplier <= 16:
        raise InputError(f"'rn-{text}' is not a width of ResNet-18; write rn-1/16, rn-1/2, rn-2: from 1/64 to 16")
    return multiplier
