"""DsDm at the level of domains: attribution scores summed by domain become a mixture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from thresher.errors import InputError
from thresher.intervals import percentiles
from thresher.progress import SILENT, Progress, track
from thresher.seeds import numpy_rng
from thresher.selection.mixture.constraints import Constraints
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws.law import Law, Losses, Weights
from thresher.selection.mixture.optimiser import optimise


class Usefulness(Law):
    """A linear datamodel of mixtures: -(mean score of a token of each domain) . x, for each of k targets.

    A datamodel adds up over examples, so a mixture's predicted effect is linear in its weights. Scores are scaled to
    unit spread over the domains; how strongly the mixture is held to the prior then decides the answer.
    """

    def __init__(self, per_token: Float[np.ndarray, "m k"]):
        spread = per_token.std(axis=0)
        self.slope = -((per_token - per_token.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).T

    @property
    def num_parameters(self) -> int:
        """One a domain."""
        return self.slope.shape[1]

    def predict(self, weights: Weights) -> Losses:
        """Minus the usefulness of each mixture for each target."""
        return weights @ self.slope.T

    def deviation(self, weights: Weights) -> Losses:
        """Always 0, because scores come without an interval of their own."""
        return np.zeros((len(weights), len(self.slope)))

    def gradient(self, weights: Weights) -> Float[np.ndarray, "n k m"]:
        """The slopes, the same for every mixture."""
        return np.broadcast_to(self.slope, (len(weights), *self.slope.shape))

    def refit(self, weights: Weights, losses: Losses) -> "Usefulness":
        """Always raises InputError, because scores are not fitted to runs."""
        raise InputError("scores are not fitted to runs, so there is nothing to refit; score again with other proxies")


def sum_by_domain(
    scores: Float[np.ndarray, "n"],
    example_domains: Sequence[str] | np.ndarray,
    tokens: Real[np.ndarray, "n"],
    domains: Sequence[str],
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """The summed scores and the summed tokens of each domain.

    `scores` (higher is more helpful) and `tokens` have a number for each example. Raises InputError for an example of
    another domain.
    """
    place = {domain: position for position, domain in enumerate(domains)}
    if unknown := set(example_domains) - set(place):
        raise InputError(
            f"an example has domain {sorted(unknown)[0]!r}, which is not in the mixture; add it or drop the example"
        )
    rows = np.array([place[domain] for domain in example_domains])
    sums = [np.bincount(rows, weights=values, minlength=len(domains)) for values in (scores, tokens)]
    return sums[0], sums[1]


def fit_domain_dsdm(summed_scores: Float[np.ndarray, "m *k"], tokens: Float[np.ndarray, "m"]) -> Usefulness:
    """The law of summed TRAK scores of k targets (or of one, [m]) and token counts.

    A KL weight of 1 trades one spread of the scores for a nat. Raises InputError for a domain without tokens and scores
    that are not finite.
    """
    if np.any(tokens <= 0) or not np.all(np.isfinite(summed_scores)):
        raise InputError("every domain needs tokens and finite scores; drop domains that have none")
    return Usefulness(summed_scores.reshape(len(tokens), -1) / tokens[:, None])


def propose_domain_dsdm(
    scores: Mapping[str, Float[np.ndarray, "n"]],
    example_domains: Sequence[str] | np.ndarray,
    tokens: Real[np.ndarray, "n"],
    *,
    goal: Goal,
    constraints: Constraints,
    natural: Float[np.ndarray, "m"] | None = None,
    num_resamples: int = 200,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Propose a mixture from the scores of n examples for each target.

    Intervals are over examples resampled within each domain. The result is a dictionary with the keys of a `Proposal`
    without losses, because scores rank mixtures and predict no loss.
    """
    domains = constraints.domains
    table, lengths = np.column_stack(list(scores.values())).astype(float), np.asarray(tokens, dtype=float)
    sums = [sum_by_domain(column, example_domains, lengths, domains) for column in table.T]
    law = fit_domain_dsdm(np.column_stack([summed for summed, _ in sums]), sums[0][1])
    best = optimise(law, goal, constraints, seed=seed)
    rows = [np.flatnonzero(np.asarray(example_domains) == domain) for domain in domains]
    rng, optima = numpy_rng(seed, "domain-dsdm"), []
    for _ in track(range(num_resamples), "bootstrap", num_resamples, progress):
        drawn = [rng.choice(members, size=len(members)) for members in rows]
        summed = np.array([table[members].sum(axis=0) for members in drawn])
        again = fit_domain_dsdm(summed, np.array([lengths[members].sum() for members in drawn]))
        optima.append(optimise(again, goal, constraints, starts=best.weights[None], num_candidates=0).weights)
    intervals = None
    if num_resamples:
        low, high = percentiles(np.array(optima))
        intervals = {d: (float(a), float(b)) for d, a, b in zip(domains, low, high, strict=True)}
    named = {"uniform": np.full(len(domains), 1 / len(domains))}
    if natural is not None:
        named = {"natural": natural, **named}
    warnings = []
    if bounds := constraints.on_bound(best.weights):
        warnings.append("on a bound: " + ", ".join(f"{domain} ({bound})" for domain, bound in bounds.items()))
    if optima and (moved := float(np.median(np.abs(np.array(optima) - best.weights).sum(axis=1) / 2))) > 0.2:
        warnings.append(f"unstable optimum: other samples of the same examples would move {moved:.0%} of the data")
    return {
        "method": "domain-dsdm",
        "seed": seed,
        "num_examples": len(table),
        "num_resamples": num_resamples,
        "weights": dict(zip(domains, map(float, best.weights), strict=True)),
        "weight_intervals": intervals,
        "objective": best.objective,
        "baselines": {name: dict(zip(domains, map(float, row), strict=True)) for name, row in named.items()},
        "usefulness": {
            target: dict(zip(domains, map(float, -row), strict=True))
            for target, row in zip(scores, law.slope, strict=True)
        },
        "warnings": warnings,
        "repairs": [],
    }
