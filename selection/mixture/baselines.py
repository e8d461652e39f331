"""The mixtures that every proposal is compared with: uniform, natural, best observed."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws.law import Losses, Weights


def uniform(num_domains: int) -> Float[np.ndarray, "m"]:
    """The same share for every domain."""
    return np.full(num_domains, 1 / num_domains)


def natural(domains: Sequence[str], tokens: Mapping[str, float]) -> Float[np.ndarray, "m"]:
    """Each domain's share of all tokens. Raises InputError for a missing count, and counts below 0 or all 0."""
    if missing := [domain for domain in domains if domain not in tokens]:
        raise InputError(f"no token count for domain {missing[0]!r}; give tokens for every domain")
    counts = np.array([tokens[domain] for domain in domains], dtype=float)
    if np.any(counts < 0) or not counts.sum() > 0:
        raise InputError("token counts must be 0 or more, and one above 0; check them")
    return counts / counts.sum()


def best_observed(weights: Weights, losses: Losses, goal: Goal) -> Float[np.ndarray, "m"]:
    """The mixture of the run with the least goal, whose loss flatters it: it is the least of many noisy ones."""
    return weights[np.argmin(goal.value(losses))]
