"""Made-up runs whose true losses are known."""

import numpy as np
import pytest

from tests.real_data import DATA

TABLES = DATA / "tables"
needs_tables = pytest.mark.skipif(not TABLES.exists(), reason=f"no tables at {TABLES}")

NUM_DOMAINS, NUM_TARGETS = 4, 2
DOMAINS = ("books", "code", "web", "law")
TARGETS = ("qa", "proofs")
SLOPES = np.array([[-2.0, 0.3, -0.5, 0.1], [0.4, -1.5, 0.2, -0.9]])
FLOORS = np.array([1.5, 2.5])


def true_losses(weights: np.ndarray) -> np.ndarray:
    """The exponential law with known parameters, [n, 2]."""
    return FLOORS + np.exp(weights @ SLOPES.T)


def made_runs(num_runs: int = 40, noise: float = 0.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(NUM_DOMAINS, 0.8), size=num_runs)
    return weights, true_losses(weights) + noise * rng.normal(size=(num_runs, NUM_TARGETS))


def simplex_grid(steps: int, num_domains: int = 3) -> np.ndarray:
    """All mixtures of three domains in multiples of 1/steps."""
    assert num_domains == 3
    return np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
