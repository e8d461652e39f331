"""Scores of single target examples: for each the pool examples at both ends, and the other way round.

Where each proxy's own scores are at hand, also how far they spread and how many of them have the sign of their mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.attribution.scoring.by_checkpoint import blocks_by_checkpoint, scored_from
from thresher.studies.explorer.subject import Subject

MOST_WORK = 10**12
"""Multiplications that single examples are worth: seconds to a minute; of more, the first examples are scored."""
BACK = 4
"""Target examples kept for each pool example, so many that it helped most and so many that it hurt most."""


class Block(NamedTuple):
    """Scores of consecutive pool examples for some target examples, [rows, t]."""

    scores: Float[np.ndarray, "rows t"]
    spread: Float[np.ndarray, "rows t"] | None = None
    """Standard deviation over the proxies."""
    agreeing: Int[np.ndarray, "rows t"] | None = None
    """Proxies whose score has the sign of the mean."""


@dataclass(frozen=True)
class Ends:
    """Of each of q queries the others at both ends: the k most helpful, then the k most harmful, [q, 2 k].

    Places are -1 where there is none.
    """

    places: Int[np.ndarray, "q two_k"]
    block: Block

    @property
    def k(self) -> int:
        """How many of each side."""
        return self.places.shape[1] // 2


@dataclass(frozen=True)
class TargetPairs:
    """Of one target."""

    forward: Ends
    """For each of its examples (the first t), pool positions."""
    back: Ends | None
    """For each pool example, positions among the target's examples; None: only `forward` is known."""


@dataclass(frozen=True)
class Together:
    """The score for a target as a whole under the proxies."""

    spread: Float[np.ndarray, "n"]
    agreeing: Int[np.ndarray, "n"]


def pairs_of(subject: Subject) -> tuple[dict[str, TargetPairs], dict[str, Together]]:
    """What is known of single target examples, and of the targets as wholes, by target; of some, or none."""
    if subject.features is not None and subject.target_features:
        return _from_features(subject)
    if subject.is_matrix:
        (name,) = subject.targets
        ends = _Ends(subject.top)
        for start, block in _matrix_blocks(subject):
            ends.add(start, block)
        return {name: ends.finish()}, {}
    if "top.parquet" in subject.scores.meta["files"]:
        return _from_top(subject), {}
    return {}, {}


def agreement(scores: Float[np.ndarray, "m *shape"]) -> Block:
    """The mean over proxies, the standard deviation, and how many have the sign of the mean."""
    mean = scores.mean(axis=0)
    agreeing = (np.sign(scores) == np.sign(mean)).sum(axis=0)
    return Block(mean, scores.std(axis=0, ddof=1 if len(scores) > 1 else 0), agreeing)


def _from_features(subject: Subject) -> tuple[dict[str, TargetPairs], dict[str, Together]]:
    pool, stores = subject.features, dict(subject.target_features)
    assert pool is not None
    options = scored_from(subject.scores, pool, stores)
    work = pool.num_examples * pool.k * pool.num_checkpoints * len(stores)
    most = max(MOST_WORK // max(work, 1), 1)
    ends, whole = {name: _Ends(subject.top) for name in stores}, {name: [] for name in stores}
    with subject.progress.task("single examples", pool.num_examples) as advance:
        for start, blocks in blocks_by_checkpoint(pool, stores, most=most, **options):
            for name, block in blocks.items():
                whole[name].append(agreement(block[:, :, 0]))
                ends[name].add(start, agreement(block[:, :, 1:]))
            advance(next(iter(blocks.values())).shape[1])
    if pool.num_checkpoints == 1:
        return {name: one.finish() for name, one in ends.items()}, {}
    together = {
        name: Together(*(np.concatenate([getattr(b, part) for b in parts]) for part in ("spread", "agreeing")))
        for name, parts in whole.items()
    }
    return {name: one.finish() for name, one in ends.items()}, together


def _matrix_blocks(subject: Subject) -> Iterator[tuple[int, Block]]:
    matrix, spread = subject.matrix, None
    if "spread.npy" in subject.scores.meta["files"]:
        spread = np.load(subject.scores.file("spread.npy"), mmap_mode="r")
    step = max(2**22 // matrix.shape[1], 1)
    for start in range(0, len(matrix), step):
        rows = slice(start, start + step)
        yield start, Block(np.asarray(matrix[rows]), None if spread is None else np.asarray(spread[rows]))


def _from_top(subject: Subject) -> dict[str, TargetPairs]:
    """From `top.parquet`, which knows pool examples by their ids."""
    table = pq.read_table(subject.scores.file("top.parquet"))
    row_of = {id: row for row, id in enumerate(subject.pool.ids)}
    found = {}
    columns = {name: np.asarray(table[name].to_pylist()) for name in ("target", "target_id", "side", "id", "score")}
    for name, target in subject.targets.items():
        example_of = {id: row for row, id in enumerate(target.ids)}
        sides = []
        for side in ("helpful", "harmful"):
            own = (columns["target"] == name) & (columns["side"] == side)
            examples = np.array([example_of[id] for id in columns["target_id"][own]], dtype=np.int64)
            order = np.argsort(examples, kind="stable")
            places = np.array([row_of[id] for id in columns["id"][own]], dtype=np.int64)[order]
            shape = (len(target), -1)
            sides.append((places.reshape(shape), columns["score"][own][order].reshape(shape)))
        places, scores = (np.concatenate([side[part][:, : subject.top] for side in sides], axis=1) for part in (0, 1))
        found[name] = TargetPairs(Ends(places, Block(scores)), None)
    return found


class _Ends:
    """The ends of every target example while the pool streams by, and those of every pool example."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._best: list[tuple[np.ndarray, Block]] = []
        self._back: list[Ends] = []

    def add(self, start: int, block: Block) -> None:
        """Take in the scores of the pool examples from `start` on."""
        columns = Block(*(None if part is None else part.T for part in block))
        own = ends_of(columns, self.k)
        places = np.where(own.places < 0, -1, own.places + start)
        self._best.append((places, own.block))
        self._back.append(ends_of(block, BACK))

    def finish(self) -> TargetPairs:
        """Both ways."""
        places = np.concatenate([places for places, _ in self._best], axis=1)
        block = Block(*(_joined([getattr(b, part) for _, b in self._best], 1) for part in Block._fields))
        own = ends_of(block, self.k, known=places >= 0)
        forward = Ends(np.where(own.places < 0, -1, np.take_along_axis(places, own.places, axis=1)), own.block)
        width = max(ends.k for ends in self._back)
        back = [ends for ends in self._back if ends.k == width]
        assert len(back) == len(self._back)  # all blocks have the same columns
        parts = (_joined([getattr(ends.block, part) for ends in back], 0) for part in Block._fields)
        return TargetPairs(forward, Ends(np.concatenate([ends.places for ends in back]), Block(*parts)))


def ends_of(block: Block, k: int, known: np.ndarray | None = None) -> Ends:
    """Both ends of each row of a block [q, c]; among equal scores the earlier column. `known`: which columns count."""
    scores = np.asarray(block.scores, dtype=np.float64)
    k, rows = min(k, scores.shape[1]), np.arange(len(scores))[:, None]
    sides = []
    for sign in (-1, 1):
        key = sign * scores if known is None else np.where(known, sign * scores, np.inf)
        order = np.argsort(key, axis=1, kind="stable")[:, :k]
        sides.append(np.where(np.isfinite(key[rows, order]), order, -1))
    places = np.concatenate(sides, axis=1)
    taken = (None if part is None else np.asarray(part)[rows, places] for part in block)
    return Ends(places, Block(*taken))


def _joined(parts: list, axis: int) -> np.ndarray | None:
    return None if parts[0] is None else np.concatenate(parts, axis=axis)
