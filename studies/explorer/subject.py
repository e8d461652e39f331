"""What an explorer is about: scores, the examples they are of, and whatever else is known of them, checked to agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Artifact
from thresher.attribution.features.store import FeatureStore
from thresher.attribution.scoring.by_checkpoint import scored_from
from thresher.data.examples import Examples
from thresher.errors import InputError, unknown
from thresher.progress import SILENT, Progress
from thresher.scores import Scores, check_same_rows, open_scores
from thresher.selection.selection import Selection
from thresher.studies.experiments.training_sets import positions_kept

SELF = "self_influence"
"""The column of scores of examples for themselves, which are large for what is rare, hard or mislabelled."""
KINDS = ("scores", "attribution")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Scores of a pool of n examples, with the examples.

    Raises InputError where two of them are not of the same examples, models or pool.
    """

    scores: Artifact
    """Of kind `scores`, or `attribution` (a score of every pair, of one target)."""
    pool: Examples
    targets: Mapping[str, Examples] = field(default_factory=dict)
    selection: Selection | None = None
    features: FeatureStore | None = None
    """What the scores were made from, with `target_features`: for scores of single examples under each proxy."""
    target_features: Mapping[str, FeatureStore] = field(default_factory=dict)
    models: Sequence[str] = ()
    """Names of models, for predictions of labelled examples."""
    lds: Artifact | None = None
    title: str = "Explorer"
    commands: Mapping[str, str] = field(default_factory=dict)
    """Lines of the page: `select` begins one that keeps the best, `serve` opens all of a subject that is too large."""
    top: int = 20
    """The most helpful and the most harmful pool examples kept for each target example, so many of each."""
    keep: Path | None = None
    """A place for the scores of single examples from features, which are then made once; None: they are not kept."""
    device: str = "auto"
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        if self.scores.kind not in KINDS:
            raise InputError(f"{self.scores.path} holds {self.scores.kind!r}; give scores, or an attribution")
        if self.is_matrix:
            self._check_matrix()
        else:
            self._check_columns()
        if self.selection is not None:
            positions_kept(self.selection, self.pool)
        if self.lds is not None and self.lds.meta["inputs"].get("pool") not in (None, self.pool.content_hash):
            raise InputError(f"{self.lds.path} judged scores of another pool's examples; give the LDS of this pool")
        if self.lds is not None and self.lds.facts.get("num_pool") != len(self.pool):
            raise InputError(
                f"{self.lds.path} judged scores of {self.lds.facts.get('num_pool')} examples, this pool has "
                f"{len(self.pool)}; give the LDS of this pool"
            )
        if self.features is not None:
            if self.is_matrix:
                raise InputError(f"{self.scores.path} has a score of every pair already; leave out the features")
            scored_from(self.scores, self.features, self.target_features)

    @property
    def is_matrix(self) -> bool:
        """Whether there is a score of every pair."""
        return self.scores.kind == "attribution"

    @property
    def has_pairs(self) -> bool:
        """Whether single target examples have scores: of every pair, from features, or kept by `score --top`."""
        return self.is_matrix or self.features is not None or "top.parquet" in self.scores.meta["files"]

    @property
    def num_proxies(self) -> int:
        """How many models the scores are means over."""
        facts, config = self.scores.facts, self.scores.meta["config"]
        return int(facts.get("num_checkpoints") or config.get("num_checkpoints") or 1)

    @property
    def scorer(self) -> str:
        """What made the scores, as a person calls it."""
        if self.is_matrix:
            return f"trak, {self.scores.meta['config']['method']}"
        return str(self.scores.facts.get("scorer") or self.scores.meta["config"].get("scorer") or "trak")

    @cached_property
    def table(self) -> Scores:
        """Ids, domains and a column a target; of a matrix the mean of each row, a target's only column."""
        if not self.is_matrix:
            return open_scores(self.scores.path)
        (name,) = self.targets or {"test": None}
        means = np.asarray(self.matrix.mean(axis=1), dtype=np.float32)
        return Scores(self.pool.ids, self.pool.domains.tolist(), {name: means}, self.pool.lengths())

    @cached_property
    def matrix(self) -> Float[np.ndarray, "n t"]:
        """The score of every pair, read from disk as it is used."""
        return np.load(self.scores.file("scores.npy"), mmap_mode="r")

    def _check_matrix(self) -> None:
        wanted = tuple(self.scores.meta["config"]["shape"])
        if len(self.targets) != 1:
            raise InputError(f"{self.scores.path} is of one target and {len(self.targets)} are given; give its one")
        (name, target), *_ = self.targets.items()
        if wanted != (len(self.pool), len(target)):
            raise InputError(
                f"{self.scores.path} scores {wanted[0]:,} x {wanted[1]:,} examples, pool and target {name!r} have "
                f"{len(self.pool):,} and {len(target):,}; give those that were scored"
            )

    def _check_columns(self) -> None:
        table = self.table
        if list(table.ids) != list(self.pool.ids):
            raise InputError(
                f"{self.pool.artifact.path} has not the examples that {self.scores.path} scored; give the pool that "
                "was scored"
            )
        check_same_rows(str(self.scores.path), table.numbered_by, str(self.pool.artifact.path), self.pool.numbered_by)
        for name in (*self.targets, *self.target_features):
            if name not in table.by_target:
                raise unknown("target", name, table.by_target)
        # Scores of features know the features of their targets, and not the examples that these are of.
        known = {} if "convention" in self.scores.meta["config"] else self.scores.meta["inputs"]
        counts: Mapping[str, Any] = self.scores.facts.get("num_target_examples") or {}
        for name, target in self.targets.items():
            if known.get(f"target {name}", target.content_hash) != target.content_hash:
                raise InputError(
                    f"{target.artifact.path} is not what {self.scores.path} scored as target {name!r}; give the target "
                    "that was scored"
                )
            if counts.get(name, len(target)) != len(target):
                raise InputError(
                    f"{target.artifact.path} has {len(target):,} examples, target {name!r} was scored with "
                    f"{counts[name]:,}; give the target that was scored"
                )
