"""DsDm at the level of domains: attribution scores summed by domain become a mixture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.mixture.constraints import Constraints
from thresher.selection.mixture.law import Law


class Usefulness(Law):
    """-(mean score of a token of each domain) . x, one target: a linear datamodel of mixtures.

    A datamodel adds up over examples, so a mixture's predicted effect is linear in its weights. Scores are put to unit
    spread over the domains; the answer is then decided by how strongly the mixture is held to the prior.
    """

    def __init__(self, per_token: Float[np.ndarray, "m"]):
        spread = per_token.std()
        self.slope = -(per_token - per_token.mean()) / (spread if spread > 0 else 1.0)

    @property
    def num_parameters(self) -> int:
        return len(self.slope)

    def predict(self, weights):
        return (weights @ self.slope)[:, None]

    def deviation(self, weights):
        """0: scores come without an interval of their own."""
        return np.zeros((len(weights), 1))

    def gradient(self, weights):
        return np.broadcast_to(self.slope, (len(weights), 1, len(self.slope)))

    def refit(self, weights, losses):
        raise InputError("scores are not fitted to runs, so there is nothing to refit; score again with other proxies")


def sum_by_domain(
    scores: Float[np.ndarray, "n"],
    example_domains: Sequence[str],
    tokens: Float[np.ndarray, "n"],
    domains: Sequence[str],
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Summed scores and summed tokens of each domain, from one score (higher = more helpful) and length an example."""
    place = {domain: position for position, domain in enumerate(domains)}
    if unknown := set(example_domains) - set(place):
        raise InputError(
            f"an example has domain {sorted(unknown)[0]!r}, which is not in the mixture; add it or drop the example"
        )
    rows = np.array([place[domain] for domain in example_domains])
    sums = [np.bincount(rows, weights=values, minlength=len(domains)) for values in (scores, tokens)]
    return sums[0], sums[1]


def fit_domain_dsdm(summed_scores: Float[np.ndarray, "m"], tokens: Float[np.ndarray, "m"]) -> Usefulness:
    """Summed TRAK scores and token counts of each domain, as a law; a KL weight of 1 trades one spread for a nat."""
    if np.any(tokens <= 0) or not np.all(np.isfinite(summed_scores)):
        raise InputError("every domain needs tokens and finite scores; drop domains that have none")
    return Usefulness(summed_scores / tokens)


def tilt(law: Usefulness, constraints: Constraints) -> Float[np.ndarray, "m"]:
    """The optimum without bounds, in closed form: prior * exp(usefulness / kl_weight), normalised."""
    if constraints.kl_weight <= 0:
        raise InputError("without a KL weight all goes to one domain; give kl_weight above 0")
    logits = np.log(np.maximum(constraints.prior, 1e-300)) - law.slope / constraints.kl_weight
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
