"""A selection: which examples of a pool were kept and which dropped, with their scores, in memory and on disk.

On disk: `kept.parquet` and `dropped.parquet`, best-ranked row first, each with
  id        the example's own
  position  its row in the pool, an index for `datasets.Dataset.select`
  domain    its domain
  score     what the last method measured: target scores (higher = more helpful) for dsdm and bottom, else its own;
            missing where it measured nothing
  rank      1 for the example that was taken first
  reason    of dropped ones: the stage that left it out; of kept ones empty
An example that is kept more than once has as many rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.selection.budget import realised


@dataclass(frozen=True)
class Selected:
    """What a spec chose of a pool of n examples."""

    scores: Float[np.ndarray, "n"]
    """The score of each pool example; NaN where the method has none."""
    kept: Int[np.ndarray, "k"]
    """Kept positions in the order in which they were taken; a position may stand there more than once."""
    dropped: Int[np.ndarray, "d"]
    """Dropped positions, the nearest to being taken first."""
    reasons: Sequence[str]
    """The stage that left out each dropped position."""
    stages: Sequence[Mapping[str, Any]] = ()
    """For each stage: `stage`, how many examples it got (`from`) and `kept`, and `seconds`."""

    @property
    def num_kept(self) -> int:
        """How many rows are kept; an example that is kept twice counts twice."""
        return len(self.kept)

    @property
    def order(self) -> Int[np.ndarray, "o"]:
        """Kept, then dropped positions: the order in which the method takes them."""
        return np.concatenate([self.kept, self.dropped])


@dataclass(frozen=True)
class Selection:
    """A selection, read from disk."""

    artifact: Artifact

    @cached_property
    def kept(self) -> pa.Table:
        """The kept examples, the best-ranked first."""
        return pq.read_table(self.artifact.file("kept.parquet"))

    @cached_property
    def dropped(self) -> pa.Table:
        """The dropped examples, the nearest to being taken first."""
        return pq.read_table(self.artifact.file("dropped.parquet"))

    @property
    def positions(self) -> Int[np.ndarray, "k"]:
        """The kept rows of the pool, best-ranked first."""
        return self.kept["position"].to_numpy()


def write_selection(
    select: Selected | Callable[[], Selected],
    ids: Sequence[str] | np.ndarray,
    domains: Sequence[str] | np.ndarray,
    *,
    out: Path,
    method: str,
    config: Mapping[str, Any],
    seed: int,
    inputs: Mapping[str, str],
    lengths: Int[np.ndarray, "n"] | None = None,
    numbered_by: str | None = None,
) -> Artifact:
    """Write a selection as an artefact of kind "selection" at `out`.

    `ids`, `domains` and `lengths` are those of the whole pool, in its order. `select` may be a function, which is only
    called if the artefact does not exist yet. Facts: `num_kept` rows, `num_unique` examples among them, `num_dropped`,
    `stages`, and `domain_shares` as the function of that name gives them; with `lengths` in tokens also `num_tokens`
    kept (an example that is kept twice counts twice) and `share_of_tokens` of the pool. `numbered_by`: the hash of the
    data whose rows the ids number, where they do.
    """

    def write(draft: Draft) -> dict[str, Any]:
        selected = select() if callable(select) else select
        assert len(domains) == len(selected.scores) == len(ids)
        assert np.array_equal(np.unique(selected.order), np.arange(len(ids))), "an example is neither kept nor dropped"
        assert not np.isin(selected.dropped, selected.kept).any(), "an example is both kept and dropped"
        assert len(selected.reasons) == len(selected.dropped)
        columns = {"id": pa.array(ids, pa.string()), "domain": pa.array(domains, pa.string())}
        for name, positions, first_rank, reasons in (
            ("kept", selected.kept, 1, [""] * selected.num_kept),
            ("dropped", selected.dropped, selected.num_kept + 1, selected.reasons),
        ):
            rows = _rows(columns, selected.scores, positions, first_rank)
            with draft.file(f"{name}.parquet") as file:
                pq.write_table(rows.append_column("reason", pa.array(reasons, pa.string())), file)
        return {
            "num_kept": selected.num_kept,
            "numbered_by": numbered_by,
            "num_unique": len(np.unique(selected.kept)),
            "num_dropped": len(selected.dropped),
            **_tokens(lengths, selected.kept),
            "stages": list(selected.stages),
            "domain_shares": domain_shares(domains, selected.kept, lengths),
        }

    return build(out, kind="selection", config={"method": method, **config}, seed=seed, inputs=inputs, write=write)


def open_selection(path: Path) -> Selection:
    """The selection in a folder. Raises InputError if there is none."""
    return Selection(open_artifact(path, "selection"))


def domain_shares(
    domains: Sequence[str] | np.ndarray, kept: Int[np.ndarray, "k"], lengths: Int[np.ndarray, "n"] | None = None
) -> dict[str, dict[str, float]]:
    """The share of each domain, sorted by name, in the pool (`before`) and in what is kept (`after`).

    Shares are of tokens; without `lengths`, and for images, whose lengths are 1, of examples.
    """
    costs = np.ones(len(domains), dtype=np.int64) if lengths is None else np.asarray(lengths)
    before = realised(np.asarray(domains), np.arange(len(domains)), costs)
    after = realised(np.asarray(domains), kept, costs)
    return {domain: {"before": share, "after": after.get(domain, 0.0)} for domain, share in before.items()}


def _tokens(lengths: Int[np.ndarray, "n"] | None, kept: Int[np.ndarray, "k"]) -> dict[str, float]:
    """Nothing where an example is the unit: not known how long, or an image."""
    if lengths is None or (np.asarray(lengths) == 1).all():
        return {}
    costs = np.asarray(lengths, dtype=np.int64)
    num_tokens = int(costs[kept].sum())
    return {"num_tokens": num_tokens, "share_of_tokens": num_tokens / int(costs.sum())}


def _rows(columns: Mapping[str, pa.Array], scores: np.ndarray, positions: np.ndarray, first_rank: int) -> pa.Table:
    taken = pa.array(positions, pa.int64())
    return pa.table(
        {
            "id": columns["id"].take(taken),
            "position": taken,
            "domain": columns["domain"].take(taken),
            "score": pa.array(scores[positions], pa.float64(), from_pandas=True),
            "rank": pa.array(np.arange(first_rank, first_rank + len(positions)), pa.int64()),
        }
    )
