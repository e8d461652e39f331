"""Scores as attribution left them: one column a target, higher = more helpful."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from thresher.artifacts import Artifact, open_artifact
from thresher.errors import InputError

RESERVED = ("id", "domain")
"""Columns of `scores.parquet` that are no targets."""


@dataclass(frozen=True)
class Scores:
    """The scores of n pool examples, in the order of the pool."""

    ids: Sequence[str]
    domains: Sequence[str]
    by_target: Mapping[str, Float[np.ndarray, "n"]]
    lengths: Int[np.ndarray, "n"] | None = None
    """Tokens of each example, 1 of an image; None: not known."""
    numbered_by: str | None = None
    """The hash of the data whose rows the ids number; None where ids are the data's own, or nobody knows."""

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, targets: Sequence[str] | None = None) -> dict[str, Float[np.ndarray, "n"]]:
        """The scores for `targets` (None: all). Raises InputError for a target without scores, listing those with."""
        wanted = list(self.by_target) if targets is None else list(targets)
        known = ", ".join(self.by_target)
        if not wanted:
            raise InputError(f"no target named; pass at least one of: {known}")
        for target in wanted:
            if target not in self.by_target:
                raise InputError(f"target {target!r} has no scores; pass targets among: {known}")
        return {target: self.by_target[target] for target in wanted}


def open_scores(path: Path) -> Scores:
    """Read an artefact of kind `scores`: ids, domains and a float32 column a target, and lengths where they are known.

    Raises InputError as `open_artifact` does.
    """
    artifact = open_artifact(path, "scores")
    table = pq.read_table(artifact.file("scores.parquet"))
    by_target = {name: table[name].to_numpy() for name in table.column_names if name not in RESERVED}
    ids, domains = (table[name].to_pylist() for name in RESERVED)
    lengths = np.load(artifact.file("lengths.npy")) if "lengths.npy" in artifact.meta["files"] else None
    return Scores(ids, domains, by_target, lengths, artifact.facts.get("numbered_by"))


def check_same_rows(given: str, numbered_by: str | None, pool: str, of_pool: str | None) -> None:
    """Refuse what was made of another pool whose ids are the same numbers.

    `given` and `pool` name both in the message; the others are their `numbered_by`, None where that is not known.
    """
    if None not in (numbered_by, of_pool) and numbered_by != of_pool:
        raise InputError(
            f"{given} is of other data than {pool}: ids are row numbers in both, of different files; give the pool it "
            "was made of, or prepare with --id"
        )


def read_scores(scores: Artifact, target: str) -> Float[np.ndarray, "n"]:
    """The scores of one target, [n]. Raises InputError, with the names there are, for one that was not scored."""
    known = scores.meta["config"]["targets"]
    if target not in known:
        raise InputError(f"{scores.path} has no scores for target {target!r}; it has: {', '.join(known)}")
    return pq.read_table(scores.file("scores.parquet"), columns=[target])[target].to_numpy()


def check_names(targets: Iterable[str]) -> None:
    """Refuse names that cannot be columns of `scores.parquet`, and a list without any name."""
    names = list(targets)
    if not names:
        raise InputError("no target given; pass at least one name and feature store")
    for name in names:
        if name in RESERVED or not name:
            raise InputError(f"a target cannot be named {name!r}, which is a column of its own; give it another name")
