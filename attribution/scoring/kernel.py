"""TRAK's kernel: K = sum_i phi(z_i) phi(z_i)^T + lambda I of one checkpoint, factored once and solved many times.

    score_m(z_i, t) = phi_m(z_i)^T K_m^{-1} phi_m(t),    score = mean_m(score_m) * mean_m(Q_m)

(Park et al. 2023, TRAK, eq. 13 to 17). Three conventions of scale, which rank alike under one checkpoint:
    thresher   lambda is a multiple of mean(diag K), `usual_damping` unless given
    traker     lambda is absolute and 0 unless given; K^{-1} is divided by mean |K^{-1}| (package traker 0.3.2)
    dattri     as traker with features / sqrt(k) and no such division (package dattri 0.3)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.features.store import FeatureStore
from thresher.attribution.scoring.damping import choose_damping
from thresher.choices import CONVENTIONS
from thresher.errors import InputError, unknown

DAMPING = 1.0
"""Near the best LDS, or better than leave-one-out's choice, wherever it was measured: docs/log.md, damping."""
EXACT_DAMPING = 3.0
"""The same in multiples of mean(diag G G^T), the mean squared length of a feature: best of the exact kernel."""
Damping = float | int | str | None
"""A number, "loo", or None for the default of the convention."""


@dataclass(frozen=True)
class Kernel:
    """K of one checkpoint as a Cholesky factor, in float64."""

    factor: Float[Tensor, "k k"]
    damping: float
    """lambda, in the units of K."""
    mean_diagonal: float
    """mean(diag K) before damping: lambda / mean_diagonal is the relative damping."""
    shift: float = 0.0
    """What had to be added to the diagonal beside the damping for the factorisation to succeed."""
    norm: float = 1.0
    """K^{-1} is divided by it (mean |K^{-1}| in traker's convention)."""

    def solve(self, vectors: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
        """Solve for K^{-1} vectors / norm, in float64."""
        return torch.cholesky_solve(vectors.double(), self.factor) / self.norm

    def whiten(self, vectors: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
        """Whiten: W vectors with W^T W = K^{-1} / norm, in float64: inner products of whitened features are scores."""
        return torch.linalg.solve_triangular(self.factor, vectors.double(), upper=False) / self.norm**0.5

    @property
    def facts(self) -> dict[str, float]:
        """What an artefact records of the kernel: damping, absolute and relative, and the shift of the diagonal."""
        relative = self.damping / self.mean_diagonal if self.mean_diagonal else 0.0
        return {"damping": self.damping, "relative_damping": relative, "diagonal_shift": self.shift}


def usual_damping(k: int, num_examples: int) -> float:
    """The default lambda in multiples of mean(diag K): 1, but no less than the exact kernel's 3 mean squared lengths.

    The trace of K is n mean squared lengths whatever k is, so a fixed multiple of its mean over k falls as k grows,
    while the kernel that features approximate stays the same: at k = 8,192 and n = 2,600 it would be a tenth of what
    the exact kernel has (docs/log.md, projections of text).
    """
    return max(DAMPING, EXACT_DAMPING * k / num_examples)


def at_unit_length(rows: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Each row divided by its length; rows of zeros stay."""
    return torch.nn.functional.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)


def gram(store: FeatureStore, checkpoint: int, *, unit: bool = False) -> Float[Tensor, "k k"]:
    """The Gram matrix sum_i phi(z_i) phi(z_i)^T without damping, in float64, one shard in memory at a time.

    `unit`: of phi at length 1. Raises InputError for features that are not finite.
    """
    total = torch.zeros(store.k, store.k, dtype=torch.float64)
    for _, block in store.blocks(checkpoint):
        rows = torch.from_numpy(block).double()
        rows = at_unit_length(rows) if unit else rows
        total.addmm_(rows.T, rows)
    if not bool(total.diagonal().isfinite().all()):
        raise InputError(
            f"{store.artifact.path} has features that are not finite (checkpoint {checkpoint}); make it again"
        )
    return total


def factorise(matrix: Float[Tensor, "k k"], damping: float, *, normalise: bool = False) -> Kernel:
    """The kernel of an undamped Gram matrix; a singular one gets the smallest power-of-ten shift that factorises."""
    mean_diagonal = float(matrix.diagonal().mean())
    if mean_diagonal == 0:
        raise InputError("all features are zero, so there is nothing to score with; check the model and its parameters")
    shift = 0.0
    while (factor := _cholesky(matrix, damping + shift)) is None:
        shift = max(1e-12 * mean_diagonal, 10 * shift)
    norm = float(torch.cholesky_inverse(factor).abs().mean()) if normalise else 1.0
    return Kernel(factor, damping, mean_diagonal, shift, norm)


def fit_kernel(
    store: FeatureStore, checkpoint: int, *, damping: Damping, convention: str = "thresher", unit: bool = False
) -> Kernel:
    """The kernel of one checkpoint over all rows of `store`, with `unit` each at length 1.

    `damping` is a multiple of mean(diag K) in convention thresher, None meaning `usual_damping` and "loo" the choice of
    leave-one-out prediction (`choose_damping`); in traker and dattri it is lambda itself, None meaning 0.
    """
    check_damping(damping, convention)
    return kernel_of(store, checkpoint, gram(store, checkpoint, unit=unit), damping, convention, unit=unit)


def check_damping(damping: Damping, convention: str) -> None:
    """Raise InputError for a convention or a damping that is unknown, or that do not go together."""
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, CONVENTIONS)
    if damping == "loo" and convention != "thresher":
        raise InputError(f"damping 'loo' is not part of convention {convention!r}; pass a number, 0 or more")
    if isinstance(damping, str) and damping != "loo":
        raise InputError(f"damping {damping!r} is unknown; pass a number, 0 or more, or 'loo'")
    if isinstance(damping, float | int) and not 0 <= damping < float("inf"):
        raise InputError(f"damping={damping} is out of range; pass a finite number, 0 or more, or leave it out")


def kernel_of(
    store: FeatureStore,
    checkpoint: int,
    matrix: Float[Tensor, "k k"],
    damping: Damping,
    convention: str = "thresher",
    *,
    unit: bool = False,
) -> Kernel:
    """The kernel as `fit_kernel` gives it, of a Gram matrix that is there."""
    if damping == "loo":
        damping = choose_damping(store, checkpoint, gram(store, checkpoint) if unit else matrix)
    assert not isinstance(damping, str)  # `check_damping` refused it
    if convention == "thresher":
        multiple = usual_damping(store.k, store.num_examples) if damping is None else damping
        return factorise(matrix, multiple * float(matrix.diagonal().mean()))
    if convention == "traker":
        return factorise(matrix, damping or 0.0, normalise=True)
    # (Phi^T Phi / k + lambda I)^{-1} between features / sqrt(k) is (Phi^T Phi + k lambda I)^{-1} between features.
    return factorise(matrix, store.k * (damping or 0.0))


def _cholesky(matrix: Float[Tensor, "k k"], damping: float) -> Float[Tensor, "k k"] | None:
    damped = matrix.clone()
    damped.diagonal().add_(damping)
    factor, failed_at = torch.linalg.cholesky_ex(damped)
    # A pivot at the level of rounding is a failure too: what is solved with it is noise.
    pivots = factor.diagonal().square()
    rounding = len(matrix) * torch.finfo(torch.float64).eps * float(damped.diagonal().max())
    return None if int(failed_at) or bool(pivots.min() <= rounding) else factor
