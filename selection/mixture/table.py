"""Tables of runs: mixtures and the losses they gave, checked, repaired where that is safe and said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.seeds import numpy_rng
from thresher.selection.mixture.laws.law import Losses, Weights

# Weights rounded to three digits sum to 1 within this; what is further off is not a rounding error.
SUM_TOLERANCE = 0.01
CONSTANT = 1e-9


@dataclass(frozen=True)
class MixtureTable:
    """n runs: weights of m domains (rows sum to 1) and losses on k targets. Made by `make_table` or `read_table`."""

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Weights
    losses: Losses
    repairs: tuple[str, ...] = ()
    """What was changed in reading, one sentence each."""
    dropped: tuple[str, ...] = ()
    """Domains that no run used."""

    def __len__(self) -> int:
        return len(self.weights)

    def rows(self, chosen: Sequence[int] | np.ndarray) -> "MixtureTable":
        """The table with the runs at these positions alone."""
        return replace(self, weights=self.weights[chosen], losses=self.losses[chosen])

    def over(self, domains: Sequence[str]) -> Weights:
        """The weights over `domains`, such as those that a law was fitted to; 0 for domains that the table lacks.

        Raises InputError if the table has a domain that `domains` lack.
        """
        if foreign := [domain for domain in self.domains if domain not in domains]:
            raise InputError(
                f"domain {foreign[0]!r} is in these runs but not in those fitted; drop it, or fit runs with it"
            )
        weights = np.zeros((len(self), len(domains)))
        weights[:, [list(domains).index(domain) for domain in self.domains]] = self.weights
        return weights

    def without_dropped(self, **given: Any) -> tuple["MixtureTable", dict[str, Any]]:
        """What is `given` of domains, without those that the table dropped, and the table with a repair that says so.

        Each argument is named for what it holds (tokens, floors, ...); what is no mapping stays as it is.
        """
        about = {name: value for name, value in given.items() if isinstance(value, Mapping)}
        left = {
            name: {d: number for d, number in value.items() if d not in self.dropped} for name, value in about.items()
        }
        fewer = [name for name, value in left.items() if len(value) < len(about[name])]
        if not fewer:
            return self, given
        gone = [domain for domain in self.dropped if any(domain in about[name] for name in fewer)]
        note = f"left out the {', '.join(fewer)} of {', '.join(gone)}, which no run used: its share stays 0"
        return replace(self, repairs=(*self.repairs, note)), given | left

    def only(self, targets: Sequence[str]) -> "MixtureTable":
        """The table with these targets alone. Raises InputError for an unknown one."""
        if unknown := [target for target in targets if target not in self.targets]:
            raise InputError(f"no target is called {unknown[0]!r}; use one of {', '.join(self.targets)}")
        columns = [self.targets.index(target) for target in targets]
        return replace(self, targets=tuple(targets), losses=self.losses[:, columns])


def make_table(domains: Sequence[str], targets: Sequence[str], weights: Weights, losses: Losses) -> MixtureTable:
    """A checked table of runs.

    Row sums within 0.01 of 1 are renormalised; exact copies of a run and domains that no run used are dropped, as
    `repairs` then says. Raises InputError for everything else that cannot be used.
    """
    weights, losses = np.asarray(weights, dtype=float), np.asarray(losses, dtype=float)
    if (
        weights.ndim != 2
        or losses.ndim != 2
        or weights.shape != (len(losses), len(domains))
        or losses.shape[1] != len(targets)
    ):
        raise InputError(
            f"weights {weights.shape} and losses {losses.shape} are no table of {len(domains)} domains and "
            f"{len(targets)} targets; give one row a run in both"
        )
    if len(weights) < 3:
        raise InputError(f"{len(weights)} runs teach nothing about mixtures; give 3 or more")
    _refuse_bad_values(domains, targets, weights, losses)
    repairs: list[str] = []
    weights = _sum_to_one(weights, repairs)
    weights, losses = _drop_copies(weights, losses, repairs)
    used, weights = _drop_unused(domains, weights, repairs)
    dropped = tuple(domain for domain in domains if domain not in used)
    return MixtureTable(tuple(used), tuple(targets), weights, losses, tuple(repairs), dropped)


def folds(table: MixtureTable, num_folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of training and held-out rows; runs of one mixture are always held out together."""
    _, group = np.unique(table.weights, axis=0, return_inverse=True)
    group = group.reshape(-1)
    num_groups = int(group.max()) + 1
    order = numpy_rng(seed, "folds").permutation(num_groups)
    fold = np.empty(num_groups, dtype=int)
    fold[order] = np.arange(num_groups) % min(num_folds, num_groups)
    for number in range(min(num_folds, num_groups)):
        held = fold[group] == number
        yield np.flatnonzero(~held), np.flatnonzero(held)


def split(table: MixtureTable, test_fraction: float, seed: int) -> tuple[MixtureTable, MixtureTable]:
    """The runs to fit and the runs to test on, which no method ever sees.

    Raises InputError for a fraction outside (0, 1) and for fewer than 3 runs in a part.
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"test fraction {test_fraction:g} is not between 0 and 1")
    pairs = [held for _, held in folds(table, len(table), seed)]
    test = np.sort(np.concatenate(pairs[: max(1, round(test_fraction * len(pairs)))]))
    train = np.setdiff1d(np.arange(len(table)), test)
    if len(train) < 3 or len(test) < 3:
        raise InputError(
            f"a test fraction of {test_fraction:g} leaves {len(train)} runs to fit, {len(test)} to test; 3 are needed"
        )
    return table.rows(train), table.rows(test)


def _refuse_bad_values(domains, targets, weights, losses) -> None:
    for names, values in ((domains, weights), (targets, losses)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise InputError(f"run {bad[0][0]} has no number for {names[bad[0][1]]!r}; fill it in or drop that run")
    negative = np.argwhere(weights < 0)
    if len(negative):
        run, domain = negative[0]
        raise InputError(
            f"run {run} has weight {weights[run, domain]:g} for {domains[domain]!r}; weights are 0 or more"
        )
    flat = np.flatnonzero(np.ptp(losses, axis=0) <= CONSTANT * np.abs(losses).max(axis=0))
    if len(flat):
        raise InputError(
            f"target {targets[flat[0]]!r} has the same loss in every run, nothing to learn; drop the column"
        )


def _sum_to_one(weights: Weights, repairs: list[str]) -> Weights:
    sums = weights.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > SUM_TOLERANCE:
        raise InputError(
            f"the weights of run {worst} sum to {sums[worst]:.4g}; they must sum to 1 (within {SUM_TOLERANCE:g})"
        )
    off = int(np.sum(np.abs(sums - 1) > 1e-9))
    if off:
        repairs.append(f"the weights of {off} runs did not sum to 1 (furthest {sums[worst]:.4f}) and were renormalised")
    return weights / sums[:, None]


def _drop_copies(
    weights: Weights, losses: Losses, repairs: list[str]
) -> tuple[Float[np.ndarray, "r m"], Float[np.ndarray, "r k"]]:
    _, first = np.unique(np.column_stack([weights, losses]), axis=0, return_index=True)
    kept = np.sort(first)
    if len(kept) < len(weights):
        repairs.append(
            f"{len(weights) - len(kept)} runs were exact copies of another, losses included, and were dropped"
        )
    repeated = len(kept) - len(np.unique(weights[kept], axis=0))
    if repeated:
        repairs.append(f"{repeated} runs repeat a mixture with another loss; kept, and always held out together")
    if len(kept) < 3:
        raise InputError(f"only {len(kept)} different runs are left after dropping copies; give 3 or more")
    return weights[kept], losses[kept]


def _drop_unused(
    domains: Sequence[str], weights: Weights, repairs: list[str]
) -> tuple[list[str], Float[np.ndarray, "n d"]]:
    fixed = np.ptp(weights, axis=0) <= CONSTANT
    for domain in np.flatnonzero(fixed & (weights[0] > 0)).tolist():
        share = weights[0, domain]
        raise InputError(
            f"domain {domains[domain]!r} is {share:.4g} in every run, so its effect cannot be learnt; "
            "vary it or leave it out"
        )
    if fixed.any():
        repairs.append(f"dropped domains that no run used: {', '.join(np.asarray(domains)[fixed])}")
    return [domain for domain, drop in zip(domains, fixed, strict=True) if not drop], weights[:, ~fixed]
