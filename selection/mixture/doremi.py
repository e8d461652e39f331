"""DoReMi (arXiv 2305.10429, Algorithm 1): step by step, domains gain weight where the proxy lags the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.intervals import student


@dataclass(frozen=True)
class DoReMi:
    """The state of the reweighting. The proposed mixture is the mean of the weights over all steps."""

    weights: Float[np.ndarray, "m"]
    eta: float = 1.0
    """Step size of the weights."""
    smoothing: float = 1e-3
    """Share of uniform weights mixed in at every step, c of the paper."""

    def step(self, excess: Float[np.ndarray, "m"]) -> "DoReMi":
        """The state after one step: log w += eta * excess, normalised, then mixed with uniform weights.

        `excess` is what `mean_excess` gives. Raises InputError if it is not one finite number for each domain.
        """
        if np.shape(excess) != self.weights.shape or not np.all(np.isfinite(excess)):
            raise InputError(
                f"excess losses must be {len(self.weights)} finite numbers, one a domain; check the losses"
            )
        logits = np.log(self.weights) + self.eta * np.maximum(excess, 0)
        moved = np.exp(logits - logits.max())
        weights = (1 - self.smoothing) * moved / moved.sum() + self.smoothing / len(moved)
        return DoReMi(weights, self.eta, self.smoothing)


def begin(num_domains: int, *, eta: float = 1.0, smoothing: float = 1e-3) -> DoReMi:
    """The state before the first step: uniform weights. The defaults are the paper's.

    Raises InputError for an eta of 0 or below, and a smoothing outside (0, 1).
    """
    if eta <= 0 or not 0 < smoothing < 1:
        raise InputError(f"eta {eta:g} must be above 0 and smoothing {smoothing:g} between 0 and 1")
    return DoReMi(np.full(num_domains, 1 / num_domains), eta, smoothing)


def mean_excess(
    losses: Float[np.ndarray, "b"], reference: Float[np.ndarray, "b"], domains: Int[np.ndarray, "b"], num_domains: int
) -> Float[np.ndarray, "m"]:
    """The excess of each domain: the mean of max(loss - reference loss, 0) over its tokens, 0 for a domain without any.

    `losses` and `reference` have a number for each token (or each example of one length), `domains` its domain.
    """
    clipped = np.maximum(losses - reference, 0)
    counts = np.bincount(domains, minlength=num_domains)
    return np.bincount(domains, weights=clipped, minlength=num_domains) / np.maximum(counts, 1)


def summarise(
    domains: Sequence[str], paths: Sequence[Float[np.ndarray, "s m"]], *, natural: Float[np.ndarray, "m"]
) -> dict[str, Any]:
    """The mixture of several runs, as a dictionary with the keys of a `Proposal` and with warnings.

    `paths` holds the weights after each step of each run; the mixture is their mean over steps, then over runs. The
    interval is Student's over runs, cut to [0, 1]; None if there is one run.
    """
    averages = np.array([path.mean(axis=0) for path in paths])
    weights, n = averages.mean(axis=0), len(averages)
    warnings, intervals = [], None
    if n > 1:
        half = student(averages)[1]
        low, high = np.clip([weights - half, weights + half], 0, 1)
        intervals = {d: (float(a), float(b)) for d, a, b in zip(domains, low, high, strict=True)}
        apart = float(np.mean(np.abs(averages - weights).sum(axis=1) / 2))
        if apart > 0.1:
            warnings.append(f"unstable: each run moves {apart:.0%} of the data from the mean of all")
    else:
        warnings.append("no interval from one run; give more seeds")
    if (top := int(np.argmax(weights))) >= 0 and weights[top] > 0.5:
        warnings.append(
            f"nearly one-hot: {domains[top]} has {weights[top]:.0%}; try a smaller eta or another reference"
        )
    late = max(float(np.abs(path[-1] - path.mean(axis=0)).sum() / 2) for path in paths)
    if late > 0.2:
        warnings.append(
            f"not settled: the last step's weights are {late:.0%} of the data away from their mean over steps"
        )

    def named(row: Float[np.ndarray, "m"]) -> dict[str, float]:
        return dict(zip(domains, map(float, row), strict=True))

    return {
        "method": "doremi",
        "num_runs": n,
        "num_steps": len(paths[0]),
        "weights": named(weights),
        "weight_intervals": intervals,
        "by_run": [named(row) for row in averages],
        "baselines": {"natural": named(natural), "uniform": named(np.full(len(domains), 1 / len(domains)))},
        "warnings": warnings,
        "repairs": [],
    }
