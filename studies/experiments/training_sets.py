"""Training sets: what trials are trained on, drawn anew for every repeat or once for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.trials import Trial
from thresher.scores import check_same_rows
from thresher.seeds import numpy_rng, run_seed
from thresher.selection.budget import Budget, draw
from thresher.selection.selection import Selection, open_selection
from thresher.studies.study import BASELINE

Positions = Int[np.ndarray, "n"]


class Draw(NamedTuple):
    """What one repeat of a training set holds."""

    positions: Positions
    """Ascending, an example as often as it is to be seen; of a mixture, all there are of its domains."""
    mixture: Mapping[str, float] | None = None
    """The share of each domain; None: as the examples come."""


@dataclass(frozen=True)
class TrainingSet:
    """A name, and one draw for all repeats or one for each."""

    name: str
    draws: Sequence[Draw]

    @classmethod
    def of(cls, name: str, *positions: np.ndarray) -> "TrainingSet":
        """The examples at `positions`: one array for all repeats, or one for each."""
        return cls(name, [Draw(np.sort(some)) for some in positions])

    def draw(self, repeat: int) -> Draw:
        """What repeat number `repeat` is trained on."""
        return self.draws[repeat % len(self.draws)]


def plan_trials(
    training_sets: Sequence[TrainingSet], num_repeats: int, *, budget: int, seed: int, stream: str
) -> list[Trial]:
    """Repeat by repeat, a trial of every training set on `budget` tokens (images) an epoch.

    The trials of one repeat share a seed, derived from `seed` and the name `stream`, so that they are paired.
    """
    return [
        Trial(
            training_set.name,
            repeat,
            run_seed(seed, stream, repeat),
            training_set.draw(repeat).positions,
            budget,
            training_set.draw(repeat).mixture,
        )
        for repeat in range(num_repeats)
        for training_set in training_sets
    ]


class PoolPart(NamedTuple):
    """A part of a pool."""

    indices: Int[np.ndarray, "m"]
    budget: int | None = None
    """Tokens (images) of it that an epoch sees; None: all."""


def random_set(
    lengths: Int[np.ndarray, "n"], budget: int, *, num_repeats: int, seed: int, name: str = BASELINE
) -> TrainingSet:
    """Random examples that hold at least `budget` tokens (images), drawn anew for each repeat, so that an interval
    covers the draw too. The smaller of two budgets lies inside the larger.
    """

    def order(repeat: int, turn: int) -> np.ndarray:
        names = ("random", repeat) if turn == 0 else ("random", repeat, turn)
        return numpy_rng(seed, *names).permutation(len(lengths))

    return TrainingSet.of(
        name,
        *[
            draw(np.arange(len(lengths)), budget, lengths, lambda turn, repeat=repeat: order(repeat, turn))
            for repeat in range(num_repeats)
        ],
    )


def random_parts(pool: Examples, fraction: float, *, num: int, seed: int, name: str) -> list[PoolPart]:
    """Random parts of the pool that hold `fraction` of its tokens (images) each; `name` tells draws of a seed apart."""
    amount = Budget(fraction=fraction).of(pool.lengths())
    orders = (numpy_rng(seed, name, m).permutation(len(pool)) for m in range(num))
    return [PoolPart(np.sort(amount.take(order, pool.domains).kept), amount.total) for order in orders]


def held_by(
    training_sets: Sequence[TrainingSet], lengths: Int[np.ndarray, "n"], num_repeats: int
) -> dict[str, list[int]]:
    """Name -> the tokens (images) that the set holds in each repeat."""
    return {
        one.name: [int(lengths[one.draw(repeat).positions].sum()) for repeat in range(num_repeats)]
        for one in training_sets
    }


def draw_members(
    members: Int[np.ndarray, "m"], budget: int, lengths: Int[np.ndarray, "n"], *, seed: int
) -> Int[np.ndarray, "k"]:
    """Positions to train on that hold at least `budget` tokens (images), ascending.

    Of members that hold more, a random part; of members that hold less, whole passes and a random remainder. Draws
    with one seed overlap wherever two sets of members do, so that paired comparisons share their luck. Raises
    InputError if `members` is empty.
    """
    if not len(members):
        raise InputError("a recipe leaves no example to train on; give another one")

    def shuffled(turn: int) -> np.ndarray:
        keys = numpy_rng(seed, "draw", turn).random(int(members.max()) + 1)
        return members[np.argsort(keys[members], kind="stable")]

    return np.sort(draw(members, budget, lengths, shuffled))


def check_domains(domains: np.ndarray, weights: Mapping[str, float]) -> None:
    """Refuse shares of domains that no example of the pool has."""
    known = set(domains.tolist())
    if missing := [name for name, share in weights.items() if share > 0 and name not in known]:
        there = ", ".join(sorted(map(str, known)))
        raise InputError(f"the pool has no example of domain {missing[0]!r}; its domains are {there}")


def supply(pool: Examples) -> dict[str, int]:
    """Tokens (images: examples) of each domain of a pool; refuses a pool without domains."""
    names, place = np.unique(pool.domains, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"{pool.artifact.path} has fewer than 2 domains, nothing to mix; prepare it with --domain")
    totals = np.bincount(place, weights=pool.lengths())
    return {str(name): int(total) for name, total in zip(names, totals, strict=True)}


def kept_positions(path: Path, pool: Examples) -> Int[np.ndarray, "k"]:
    """The positions in `pool` that the selection at `path` kept, in order; refuses a selection of another pool."""
    return positions_kept(open_selection(path), pool)


def positions_kept(selection: Selection, pool: Examples) -> Int[np.ndarray, "k"]:
    """The same of a selection that is open."""
    path = selection.artifact.path
    ids, positions = selection.kept["id"].to_pylist(), selection.positions
    size = len(np.unique(positions)) + len(selection.dropped)
    if size != len(pool) or any(pool.ids[position] != id for position, id in zip(positions, ids, strict=True)):
        raise InputError(f"{path} does not select from {pool.artifact.path}; give the pool that was scored")
    numbered_by = selection.artifact.facts.get("numbered_by")
    check_same_rows(f"the selection {path}", numbered_by, str(pool.artifact.path), pool.numbered_by)
    return np.sort(positions)
