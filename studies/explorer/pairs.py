"""Scores of single target examples: for each the pool examples at both ends, and the other way round.

Where each proxy's own scores are at hand, also how far they spread and how many of them have the sign of their mean.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float

from thresher.artifacts import Draft, build
from thresher.attribution.scoring.by_checkpoint import blocks_by_checkpoint, scored_from
from thresher.studies.explorer.ends import Block, Ends, RunningEnds, TargetPairs, Together, ends_of, joined
from thresher.studies.explorer.pair_files import FILE, Pairs, read_pairs, write_pairs
from thresher.studies.explorer.subject import Subject

MOST_WORK = 10**12
"""Multiplications that single examples are worth: seconds to a minute; of more, the first examples are scored."""
BACK = 10
"""Target examples kept for each pool example, so many that it helped most and so many that it hurt most."""


def pairs_of(subject: Subject) -> Pairs:
    """What is known of single target examples, and of the targets as wholes under each proxy: of some, or none."""
    if subject.features is not None and subject.target_features:
        return _from_features(subject) if subject.keep is None else _kept(subject)
    if subject.is_matrix:
        (name,) = subject.targets
        ends = _Both(subject.top)
        for start, block in _matrix_blocks(subject):
            ends.add(start, block)
        return Pairs({name: ends.finish()}, {})
    if "top.parquet" in subject.scores.meta["files"]:
        return Pairs(_from_top(subject), {})
    return Pairs({}, {})


def _kept(subject: Subject) -> Pairs:
    """As `_from_features`, from the artefact at `subject.keep`, which is made where it is not there."""
    assert subject.features is not None and subject.keep is not None
    inputs = {"scores": subject.scores.content_hash, "pool": subject.features.content_hash}
    inputs |= {f"target {name}": store.content_hash for name, store in subject.target_features.items()}

    def write(draft: Draft) -> None:
        pairs = _from_features(subject)
        with draft.file(FILE) as file:
            write_pairs(pairs, file)

    config = {"targets": list(subject.target_features), "top": subject.top, "back": BACK, "most_work": MOST_WORK}
    artifact = build(subject.keep, kind="pairs", config=config, seed=0, inputs=inputs, write=write)
    return read_pairs(artifact.file(FILE), list(subject.target_features))


def agreement(scores: Float[np.ndarray, "m *shape"]) -> Block:
    """The mean over proxies, the standard deviation, and how many have the sign of the mean."""
    mean = scores.mean(axis=0)
    agreeing = (np.sign(scores) == np.sign(mean)).sum(axis=0)
    return Block(mean, scores.std(axis=0, ddof=1 if len(scores) > 1 else 0), agreeing)


def _from_features(subject: Subject) -> Pairs:
    pool, stores = subject.features, dict(subject.target_features)
    assert pool is not None
    options = scored_from(subject.scores, pool, stores)
    work = pool.num_examples * pool.k * pool.num_checkpoints * len(stores)
    most = max(MOST_WORK // max(work, 1), 1)
    ends, whole = {name: _Both(subject.top) for name in stores}, {name: [] for name in stores}
    with subject.progress.task("single examples", pool.num_examples) as advance:
        for start, blocks in blocks_by_checkpoint(pool, stores, most=most, **options):
            for name, block in blocks.items():
                whole[name].append(agreement(block[:, :, 0]))
                ends[name].add(start, agreement(block[:, :, 1:]))
            advance(next(iter(blocks.values())).shape[1])
    if pool.num_checkpoints == 1:
        return Pairs({name: one.finish() for name, one in ends.items()}, {})
    together = {
        name: Together(*(np.concatenate([getattr(b, part) for b in parts]) for part in ("spread", "agreeing")))
        for name, parts in whole.items()
    }
    return Pairs({name: one.finish() for name, one in ends.items()}, together)


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


class _Both:
    """The ends of every target example while the pool streams by, and those of every pool example."""

    def __init__(self, k: int) -> None:
        self._forward, self._back = RunningEnds(k), list[Ends]()

    def add(self, start: int, block: Block) -> None:
        """Take in the scores [rows, t] of the pool examples from `start` on."""
        self._forward.add(start, block.each(np.transpose))
        self._back.append(ends_of(block, BACK))

    def finish(self) -> TargetPairs:
        """Both ways."""
        places = np.concatenate([ends.places for ends in self._back])
        return TargetPairs(self._forward.finish(), Ends(places, joined([ends.block for ends in self._back], axis=0)))
