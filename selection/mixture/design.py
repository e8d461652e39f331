"""Which mixtures to train proxies on: before the first run, and after some, where they inform most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.choices import DESIGNS
from thresher.errors import InputError, unknown
from thresher.seeds import numpy_rng
from thresher.selection.mixture.constraints import SLACK, Constraints
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws.gaussian_process import fit_gaussian_process
from thresher.selection.mixture.laws.law import Law, Weights
from thresher.selection.mixture.optimiser import objective, sample_mixtures
from thresher.selection.mixture.table import MixtureTable

# Two mixtures whose shares differ by no more than this are one.
SAME = 1e-6


@dataclass(frozen=True)
class Plan:
    """The mixtures of r runs to make."""

    kind: str
    """One of DESIGNS."""
    domains: tuple[str, ...]
    weights: Float[np.ndarray, "r m"]
    amounts: Float[np.ndarray, "r m"]
    """What each domain gets, in units of its equal share. In a DDO rows differ in their sums, because its cut and
    raised runs train on less and more data in all."""

    def to_json(self) -> dict[str, Any]:
        """The plan as a plain dictionary."""
        runs = [dict(zip(self.domains, map(float, row), strict=True)) for row in self.weights]
        totals = self.amounts.sum(axis=1) / len(self.domains)
        return {"kind": self.kind, "runs": runs, "data_relative_to_base": [float(total) for total in totals]}


def plan_runs(
    constraints: Constraints, num_runs: int | None = None, *, kind: str = "space-filling", seed: int = 0, **options: Any
) -> Plan:
    """Design the first `num_runs` runs (default: twice the domains + 10; a DDO always has 2m + 1).

    `options` are those of the function that makes the design. The prior changes nothing in a DDO. Raises InputError for
    an unknown design, a number of runs that it cannot have, and a DDO whose runs break the constraints.
    """
    if kind not in DESIGNS:
        raise unknown("design", kind, DESIGNS)
    num_domains = len(constraints.domains)
    if kind == "ddo":
        if num_runs is not None and num_runs != 2 * num_domains + 1:
            raise InputError(
                f"a DDO of {num_domains} domains has {2 * num_domains + 1} runs, not {num_runs}; leave the number out"
            )
        amounts = one_up_one_down(num_domains, **options)
        weights = amounts / amounts.sum(axis=1, keepdims=True)
        _refuse_outside(constraints, weights)
        return Plan(kind, constraints.domains, weights, amounts)
    num_runs = 2 * num_domains + 10 if num_runs is None else num_runs
    if num_runs < 1:
        raise InputError(f"{num_runs} runs asked for; give 1 or more")
    make = dirichlet if kind == "dirichlet" else space_filling
    weights = make(constraints, num_runs, seed=seed, **options)
    return Plan(kind, constraints.domains, weights, weights * num_domains)


def _refuse_outside(constraints: Constraints, weights: Weights) -> None:
    """Refuse runs of a DDO, which cannot be moved, outside the constraints."""
    low, high = weights < constraints.lower - SLACK, weights > constraints.upper + SLACK
    if len(broken := np.argwhere(low | high)):
        run, domain = broken[0]
        bound = (
            f"floor {constraints.lower[domain]:.4g}" if low[run, domain] else f"ceiling {constraints.upper[domain]:.4g}"
        )
        raise InputError(
            f"run {run} of a ddo gives {constraints.domains[domain]!r} {weights[run, domain]:.4g}, beyond its {bound}; "
            "a ddo keeps to no bounds, so leave them out or take another design"
        )
    if constraints.max_kl is not None and (furthest := constraints.kl(weights).max()) > constraints.max_kl + SLACK:
        raise InputError(
            f"a run of a ddo is at KL {furthest:.4g} from the prior, beyond max_kl {constraints.max_kl:g}; "
            "leave it out or take another design"
        )


def dirichlet(
    constraints: Constraints, num_runs: int, *, seed: int = 0, low: float = 0.1, high: float = 5.0
) -> Weights:
    """RegMix's design: draws from a Dirichlet around the prior, with a strength that is drawn anew for each run.

    The strength is m * s, with log s uniform from `low` (near the corners) to `high` (near the prior).
    """
    rng = numpy_rng(seed, "dirichlet-design")
    strength = len(constraints.domains) * np.exp(rng.uniform(np.log(low), np.log(high), size=(num_runs, 1)))
    gammas = rng.gamma(np.maximum(strength * constraints.prior, 1e-2)) + 1e-12
    return constraints.project(gammas / gammas.sum(axis=1, keepdims=True))


def space_filling(constraints: Constraints, num_runs: int, *, seed: int = 0, seen: Weights | None = None) -> Weights:
    """Runs that are each the candidate furthest (Hellinger) from those before; the prior is first if none is `seen`."""
    pool = sample_mixtures(constraints, max(2000, 20 * num_runs), seed)
    roots = np.sqrt(pool)
    chosen: list[np.ndarray] = []
    if seen is None:
        first = constraints.project(constraints.prior[None])[0]
        chosen, seen = [first], first[None]
    distance = np.min([np.sum((roots - np.sqrt(np.maximum(row, 0))) ** 2, axis=1) for row in np.asarray(seen)], axis=0)
    while len(chosen) < num_runs:
        furthest = int(np.argmax(distance))
        chosen.append(pool[furthest])
        distance = np.minimum(distance, np.sum((roots - roots[furthest]) ** 2, axis=1))
    return np.array(chosen)


def one_up_one_down(num_domains: int, *, low: float = 1 / 5, high: float = 3.0) -> Float[np.ndarray, "r m"]:
    """AutoScale's DDO in units of the equal share: base, each domain cut to `low`, each raised to `high`."""
    amounts = np.ones((2 * num_domains + 1, num_domains))
    amounts[1 : num_domains + 1][np.diag_indices(num_domains)] = low
    amounts[num_domains + 1 :][np.diag_indices(num_domains)] = high
    return amounts


def next_runs(
    law: Law,
    table: MixtureTable,
    goal: Goal,
    constraints: Constraints,
    num_runs: int,
    *,
    candidates: Sequence[np.ndarray] = (),
    eagerness: float = 2.0,
    seed: int = 0,
) -> Weights:
    """The next batch of runs: mixtures that could be the best, each chosen with the earlier ones of the batch in mind.

    Chosen is the least predicted objective, the KL penalty included, minus `eagerness` times the goal's deviation under
    a Gaussian process. That deviation shrinks around each choice before the next; it does not depend on the result, so
    no result is invented. A worst case must come with its reference (`Goal.counted_from`). `candidates`, such as the
    current optimum, join the sampled pool. Where the constraints leave fewer mixtures, the batch is smaller.
    """
    pool = np.vstack([sample_mixtures(constraints, 2000, seed), *[np.atleast_2d(points) for points in candidates]])
    mean = objective(law, goal, constraints, pool)
    values = goal.value(table.losses)
    # The goal itself as one target: its deviation is what a choice trades against its mean.
    process = fit_gaussian_process(table.weights, values[:, None], seed)
    chosen: list[np.ndarray] = []
    while len(chosen) < num_runs and len(pool):
        deviation = process.deviation(pool) if not chosen else process.shared_deviation(pool, np.array(chosen))
        best = int(np.argmin(mean - eagerness * deviation[:, 0]))
        chosen.append(pool[best])
        # A repeat would teach the noise alone, and the pool holds some mixtures, such as the prior, more than once.
        others = np.abs(pool - pool[best]).max(axis=1) > SAME
        pool, mean = pool[others], mean[others]
    return np.array(chosen)
