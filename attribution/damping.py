"""Choosing lambda from the pool alone, by leave-one-out prediction of what the model leaves unexplained.

TRAK is one Newton step on the residuals Q = 1 - p of the pool, so lambda is chosen as for their ridge regression on
Phi: the least mean squared leave-one-out residual, (Q_i - Qhat_i) / (1 - h_i) with h the diagonal of the hat matrix
(Allen 1974, PRESS). Predicting f itself instead chooses lambda far too small (digits, MLP, LDS .39 against .47).
In the eigenbasis of K every lambda costs one column, and the whole grid one pass.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.features import FeatureStore, Shard
from thresher.errors import InputError

# Multiples of mean(diag K), two a decade.
GRID = tuple(float(10**exponent) for exponent in np.arange(-4, 2.5, 0.5))


def choose_damping(store: FeatureStore, checkpoint: int, gram: Float[Tensor, "k k"]) -> float:
    """The multiple of mean(diag K) on GRID whose leave-one-out predictions of Q have the least squared error.

    Not for features of the loss, whose residual is the same for all, nor where Q hardly varies, as for language models
    that were trained briefly: what is left to predict is then a constant, and the choice far too small.
    """
    if store.artifact.meta["config"]["output"] == "loss":
        raise InputError("damping 'loo' predicts 1 - p, which is no residual of features of the loss; pass a number")
    errors = leave_one_out_errors(store, checkpoint, gram, GRID)
    return GRID[int(errors.argmin())]


def leave_one_out_errors(
    store: FeatureStore, checkpoint: int, gram: Float[Tensor, "k k"], multiples: tuple[float, ...]
) -> Float[np.ndarray, " g"]:
    """Mean squared leave-one-out error of Q at each lambda = multiple * mean(diag K), two passes over the store."""
    values, vectors = torch.linalg.eigh(gram)
    lambdas = torch.tensor(multiples, dtype=torch.float64) * gram.diagonal().mean()
    inverse = 1 / (values.clamp(min=0)[:, None] + lambdas)  # [k, g]
    moment = torch.zeros(store.k, dtype=torch.float64)
    for shard in store.shards(checkpoint):
        moment += torch.from_numpy(shard.features).double().T @ _residuals(shard)
    weights = inverse * (vectors.T @ moment)[:, None]  # [k, g]
    total = torch.zeros(len(multiples), dtype=torch.float64)
    for shard in store.shards(checkpoint):
        rotated = torch.from_numpy(shard.features).double() @ vectors  # [rows, k]
        residual = _residuals(shard)[:, None] - rotated @ weights
        leverage = rotated.square() @ inverse
        total += (residual / (1 - leverage).clamp(min=1e-12)).square().sum(dim=0)
    return (total / store.num_examples).numpy()


def _residuals(shard: Shard) -> Float[Tensor, " rows"]:
    return 1 - torch.from_numpy(shard.outputs["confidence"]).double()
