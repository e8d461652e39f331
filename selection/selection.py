"""A selection: which examples of a pool were kept and which dropped, with their scores, in memory and on disk.

On disk: `kept.parquet` and `dropped.parquet`, best-ranked row first, each with
  id        the example's own
  position  its row in the pool, an index for `datasets.Dataset.select`
  domain    its domain
  score     the combined target score, higher = more helpful, whatever the method
  rank      1 for the example that the method took first, up to the size of the pool
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.artifacts import Artifact, Draft, build, open_artifact


@dataclass(frozen=True)
class Selected:
    """What a method chose of n examples."""

    scores: Float[np.ndarray, "n"]
    """The score of each pool example, in the order of the pool."""
    order: Int[np.ndarray, "n"]
    """Every position, in the order in which the method takes them."""
    num_kept: int

    @property
    def kept(self) -> Int[np.ndarray, "k"]:
        """Kept positions, first taken first."""
        return self.order[: self.num_kept]

    @property
    def dropped(self) -> Int[np.ndarray, "n-k"]:
        """Dropped positions, nearest to being taken first."""
        return self.order[self.num_kept :]


@dataclass(frozen=True)
class Selection:
    """A selection, read from disk."""

    artifact: Artifact

    @cached_property
    def kept(self) -> pa.Table:
        return pq.read_table(self.artifact.file("kept.parquet"))

    @cached_property
    def dropped(self) -> pa.Table:
        return pq.read_table(self.artifact.file("dropped.parquet"))

    @property
    def positions(self) -> Int[np.ndarray, "k"]:
        """The kept rows of the pool, best-ranked first."""
        return self.kept["position"].to_numpy()


def write_selection(
    selected: Selected,
    ids: Sequence[str],
    domains: Sequence[str],
    *,
    out: Path,
    method: str,
    config: Mapping[str, Any],
    seed: int,
    inputs: Mapping[str, str],
) -> Artifact:
    """The "selection" artefact at `out`; `ids` and `domains` are those of the whole pool, in its order.

    Facts: `num_kept`, `num_dropped`, and `domain_shares`, see there.
    """
    num_pool = len(ids)
    assert len(domains) == len(selected.scores) == num_pool
    assert np.array_equal(np.sort(selected.order), np.arange(num_pool)), "order is not a permutation of the pool"

    def write(draft: Draft) -> dict[str, Any]:
        columns = {"id": pa.array(ids, pa.string()), "domain": pa.array(domains, pa.string())}
        for name, positions, first_rank in (
            ("kept", selected.kept, 1),
            ("dropped", selected.dropped, selected.num_kept + 1),
        ):
            with draft.file(f"{name}.parquet") as file:
                pq.write_table(_rows(columns, selected.scores, positions, first_rank), file)
        return {
            "num_kept": selected.num_kept,
            "num_dropped": num_pool - selected.num_kept,
            "domain_shares": domain_shares(domains, selected.kept),
        }

    return build(out, kind="selection", config={"method": method, **config}, seed=seed, inputs=inputs, write=write)


def open_selection(path: Path) -> Selection:
    return Selection(open_artifact(path, "selection"))


def domain_shares(domains: Sequence[str], kept: Int[np.ndarray, "k"]) -> dict[str, dict[str, float]]:
    """For each domain, sorted, its share of all examples (`before`) and of the kept ones (`after`)."""
    names = np.asarray(domains, dtype=object)
    before, after = _shares(names), _shares(names[kept])
    return {domain: {"before": before[domain], "after": after.get(domain, 0.0)} for domain in sorted(before)}


def _shares(domains: np.ndarray) -> dict[str, float]:
    return {domain: count / len(domains) for domain, count in Counter(domains).items()}


def _rows(columns: Mapping[str, pa.Array], scores: np.ndarray, positions: np.ndarray, first_rank: int) -> pa.Table:
    taken = pa.array(positions, pa.int64())
    return pa.table(
        {
            "id": columns["id"].take(taken),
            "position": taken,
            "domain": columns["domain"].take(taken),
            "score": pa.array(scores[positions], pa.float64()),
            "rank": pa.array(np.arange(first_rank, first_rank + len(positions)), pa.int64()),
        }
    )
