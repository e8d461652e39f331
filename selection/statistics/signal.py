"""How well a test set tells recipes apart: signal, noise, and how often two measurements of them would agree at all.

    signal    the largest difference between two recipes' losses, over their mean (over 1 where that is 0)
    noise     the standard deviation of one run's loss about its recipe's, over the same mean: from seeds, or, from one
              run each, from its last checkpoints, which vary about as seeds do; what all recipes' losses do from one
              checkpoint to the next is training, and is taken off
    ratio     signal / noise (Heineman et al., Signal and Noise, NeurIPS 2025); 0 without a signal
    ceiling   the decision accuracy that a proxy without any fault of its own would reach, noise on both sides taken in

The ceiling is of recipes whose true losses are Gaussian: with r the share of the variance of the recipes' means that is
their own, at the proxy and at the reference, pairs are ordered alike with probability 1/2 + arcsin(sqrt(r r')) / pi.
A test set whose ceiling is below what is asked of a proxy cannot decide, whatever the proxy is.

A mean over test sets may count each by its signal to noise at the reference: by r there, which is
1 - noise^2 / (n variance), 0 for noise alone and 1 for none, of n values a recipe. Weights from the reference alone are
not used twice: they are known before the proxy is looked at, so that a proxy that guesses has half of the pairs right
under any of them, luck that spreads recipes at the reference lowers agreement where it raises the weight, and all
proxies are asked the same. Weights from the proxy's side would let it choose the sets that it is judged on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import asin, pi, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError

CLEAR = 1.96
"""Standard errors of their difference that two recipes must lie apart at the reference to count as told apart."""


@dataclass(frozen=True)
class Signal:
    """What a test set shows of recipes at one size."""

    signal: float
    noise: float
    source: Literal["seeds", "checkpoints"]
    """What the noise is estimated from."""
    num_values: int
    """Of each recipe: values whose mean it is judged by; noise is of one of them."""
    own_share: float
    """Of the variance of the recipes' means, what is their own and not noise's; 0 to 1."""
    error: float
    """Of a recipe's mean, its standard error, in units of the loss."""

    @property
    def ratio(self) -> float:
        """Signal over noise; infinite where runs agree exactly and recipes do not."""
        if not self.signal:
            return 0.0
        return self.signal / self.noise if self.noise > 0 else float("inf")


def signal_of(values: Sequence[Sequence[float]], source: Literal["seeds", "checkpoints"] = "seeds") -> Signal | None:
    """The signal of one test set from the values of each recipe: seeds, or the last checkpoints of one run.

    None where no recipe has two values. The mean of k checkpoints is taken to be as noisy as one of them, since
    neighbours go together: averaging them helps by what it helps, and is not counted on. Raises InputError for fewer
    than 3 recipes.
    """
    if len(values) < 3:
        raise InputError(f"{len(values)} recipes; a signal is told from noise on 3 or more")
    several = [np.asarray(own, dtype=np.float64) for own in values if len(own) > 1]
    if not several:
        return None
    noise = sqrt(_variance(several) if source == "seeds" else _variance_beside_training(np.array(several)))
    means = np.array([np.mean(own) for own in values])
    count = min(map(len, values)) if source == "seeds" else 1
    error, variance, level = noise / sqrt(count), float(means.var(ddof=1)), abs(float(means.mean())) or 1.0
    own_share = max(0.0, 1 - error**2 / variance) if variance > 0 else 0.0
    spread = float(means.max() - means.min())
    return Signal(spread / level, noise / level, source, count, own_share, error)


def _variance(values: Sequence[Float[np.ndarray, "s"]]) -> float:
    """Of single values about their recipe's mean."""
    squares = sum(float(((own - own.mean()) ** 2).sum()) for own in values)
    return squares / sum(len(own) - 1 for own in values)


def _variance_beside_training(values: Float[np.ndarray, "r s"]) -> float:
    """The same of checkpoints, about their recipe's mean and what all recipes have in common at each."""
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    return float((rest**2).sum()) / ((len(values) - 1) * (values.shape[1] - 1))


def ceiling(proxy: Signal | None, reference: Signal | None) -> float:
    """The decision accuracy that noise allows; a side whose noise is not known counts as having none."""
    shares = [1.0 if side is None else side.own_share for side in (proxy, reference)]
    return 0.5 + asin(sqrt(shares[0] * shares[1])) / pi


def told_apart(losses: Float[np.ndarray, "r"], error: float) -> Float[np.ndarray, "r r"]:
    """1 for each pair of recipes that lie further apart than CLEAR standard errors of their difference, else 0."""
    return (np.abs(losses[:, None] - losses) > CLEAR * sqrt(2) * error).astype(np.float64)


def weights_of(reference: Mapping[str, Signal]) -> dict[str, float]:
    """How much each test set counts in a mean weighted by signal to noise, from the signals at the reference alone."""
    return {name: signal.own_share for name, signal in reference.items()}


def able(ceilings: Mapping[str, float], threshold: float) -> list[str]:
    """The test sets that can decide: whose ceiling reaches the threshold."""
    return [name for name, value in ceilings.items() if value >= threshold]
