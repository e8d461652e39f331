"""Choosing lambda from the pool alone, by leave-one-out prediction of the model's own outputs.

Scores say how outputs move when examples leave, so lambda is chosen as for the ridge regression of the margins f on
Phi: the least mean squared leave-one-out residual, (f_i - fhat_i) / (1 - h_i) with h the diagonal of the hat matrix
(Allen 1974, PRESS), of margins less their mean. Without the mean, which features carry too, it chooses far too small
a lambda; and predicting Q = 1 - p fails where Q hardly varies or the model underfits: docs/log.md.
In the eigenbasis of K every lambda costs one column, and the whole grid one pass.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.features.store import FeatureStore, Shard

# Multiples of mean(diag K), two a decade.
GRID = tuple(float(10**exponent) for exponent in np.arange(-4, 2.5, 0.5))


def choose_damping(store: FeatureStore, checkpoint: int, gram: Float[Tensor, "k k"]) -> float:
    """The multiple of mean(diag K) on GRID whose leave-one-out predictions of the output have the least squared error.

    The output is what features are gradients of: the margin, or the loss.
    """
    return GRID[int(leave_one_out_errors(store, checkpoint, gram, GRID).argmin())]


def leave_one_out_errors(
    store: FeatureStore, checkpoint: int, gram: Float[Tensor, "k k"], multiples: tuple[float, ...]
) -> Float[np.ndarray, "g"]:
    """Mean squared leave-one-out error at each lambda = multiple * mean(diag K), two passes over the store."""
    values, vectors = torch.linalg.eigh(gram)
    lambdas = torch.tensor(multiples, dtype=torch.float64) * gram.diagonal().mean()
    inverse = 1 / (values.clamp(min=0)[:, None] + lambdas)  # [k, g]
    output = store.artifact.meta["config"]["output"]
    mean = float(store.outputs(checkpoint)[output].astype(np.float64).mean())
    moment = torch.zeros(store.k, dtype=torch.float64)
    for shard in store.shards(checkpoint):
        moment += torch.from_numpy(shard.features).double().T @ _centred(shard, output, mean)
    weights = inverse * (vectors.T @ moment)[:, None]  # [k, g]
    total = torch.zeros(len(multiples), dtype=torch.float64)
    for shard in store.shards(checkpoint):
        rotated = torch.from_numpy(shard.features).double() @ vectors  # [rows, k]
        residual = _centred(shard, output, mean)[:, None] - rotated @ weights
        leverage = rotated.square() @ inverse
        total += (residual / (1 - leverage).clamp(min=1e-12)).square().sum(dim=0)
    return (total / store.num_examples).numpy()


def _centred(shard: Shard, output: str, mean: float) -> Float[Tensor, "rows"]:
    return torch.from_numpy(shard.outputs[output]).double() - mean
