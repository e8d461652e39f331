"""traker's kernel in double precision and in blocks: what is n x k or n x t stays on disk."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from trak.score_computers import AbstractScoreComputer

from thresher.attribution.scoring.kernel import Kernel, factorise

# Numbers in memory at once, of features or of scores.
BLOCK = 2**24


class ScoreComputer(AbstractScoreComputer):
    """Phi (Phi^T Phi + lambda I)^{-1}, the inverse divided by the mean of its absolute values (traker 0.3.2)."""

    def __init__(
        self, dtype: torch.dtype, device: Any, logging_level: int = logging.INFO, lambda_reg: float = 0.0
    ) -> None:
        super().__init__(dtype, device)
        self.lambda_reg = lambda_reg
        self.logger = logging.getLogger("ScoreComputer")
        self.logger.setLevel(logging_level)

    def get_xtx(self, grads: Float[Tensor, "n k"]) -> Float[Tensor, "k k"]:
        """The Gram matrix of the features in float64, accumulated in blocks of rows."""
        total = torch.zeros(grads.shape[1], grads.shape[1], dtype=torch.float64, device=self.device)
        for rows in blocks(*grads.shape):
            block = grads[rows].to(self.device, torch.float64)
            total.addmm_(block.T, block)
        return total

    def get_x_xtx_inv(self, grads: Float[Tensor, "n k"], xtx: Float[Tensor, "k k"]) -> Float[Tensor, "n k"]:
        """Features times the inverse kernel, in memory."""
        features = torch.empty(grads.shape, dtype=self.dtype)
        self.write_features(grads, xtx, features.numpy())
        return features

    def write_features(self, grads: Float[Tensor, "n k"], xtx: Float[Tensor, "k k"], features: np.ndarray) -> None:
        """Fill `features` [n, k], which may be on disk."""
        kernel = self.kernel(xtx)
        for rows in blocks(*grads.shape):
            features[rows] = kernel.solve(grads[rows].to(self.device).T).T.to(self.dtype).cpu().numpy()

    def kernel(self, xtx: Float[Tensor, "k k"]) -> Kernel:
        """The factored kernel, damped by `lambda_reg`; warns where it is singular and had to be shifted."""
        kernel = factorise(xtx, float(self.lambda_reg), normalise=True)
        if kernel.shift:
            self.logger.warning(
                f"The kernel of the features is singular; {kernel.shift:.2g} was added to its diagonal "
                f"(mean {kernel.mean_diagonal:.2g}). Pass lambda_reg, or a proj_dim well below the number of examples."
            )
        return kernel

    def get_scores(
        self, features: Float[Tensor, "n k"], target_grads: Float[Tensor, "t k"], accumulator: Float[Tensor, "n t"]
    ) -> None:
        """Add the scores of these features for these targets to `accumulator`."""
        accumulator += (features.float() @ target_grads.float().T).detach().cpu()


def blocks(n: int, width: int) -> Iterator[slice]:
    """Ranges of rows of at most BLOCK numbers."""
    step = max(1, BLOCK // max(1, width))
    return (slice(start, min(n, start + step)) for start in range(0, n, step))
