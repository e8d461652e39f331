"""Prepared examples, read from disk: what training, attribution and evaluation all iterate over.

An example is what is scored and selected: a document, a prompt with its continuation, or an image. A model reads it in
one or more windows: a document that is longer than the sequence length in several, everything else in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from thresher.artifacts import Artifact
from thresher.data.writers import NUMBERED
from thresher.outputs import Batch

Positions = Int[np.ndarray, "m"] | Sequence[int]
"""Which examples, or which windows: their numbers, in any order."""


class Windows(NamedTuple):
    """What a model reads at once, in the order of the examples.

    What is measured of an example is the mean over its windows with `weights`, which is the mean over its predicted
    tokens; its gradient is the gradient of that mean.
    """

    example: Int[np.ndarray, "w"]
    """The position of the example that each window belongs to."""
    weights: Float[np.ndarray, "w"]
    """Its share of the example's predicted tokens; they sum to 1 for each example."""
    lengths: Int[np.ndarray, "w"]
    """Tokens of text, 1 for an image."""


def add_shares(total: Tensor, owners: Int[np.ndarray, "b"], weights: Float[np.ndarray, "b"], values: Tensor) -> None:
    """Add `values` [b, ...], read of a batch of windows, to `total` [n, ...] of their examples, in place.

    `owners` are the examples that the windows are of, `weights` theirs in `Windows`. Sums are of the type of `total`.
    """
    shares = torch.from_numpy(weights).to(total).view(-1, *[1] * (values.ndim - 1))
    total.index_add_(0, torch.from_numpy(owners), values.to(total) * shares)


@dataclass(frozen=True)
class Examples:
    """A prepared pool or target: n examples with stable ids, read from disk as they are asked for."""

    artifact: Artifact

    @property
    def content_hash(self) -> str:
        """A hash of what the examples hold."""
        return self.artifact.content_hash

    @property
    def numbered_by(self) -> str | None:
        """The hash of the data whose rows the ids number; None where ids are the data's own, or nobody knows."""
        is_numbered = self.artifact.facts.get(NUMBERED)
        if is_numbered is None:  # made before that was a fact
            columns = self.artifact.meta["config"].get("columns")
            is_numbered = isinstance(columns, dict) and "id" in columns and columns["id"] is None
        return self.artifact.meta["inputs"].get("source") if is_numbered else None

    @property
    def num_examples(self) -> int:
        """How many examples there are, n."""
        return self.artifact.facts["num_examples"]

    def __len__(self) -> int:
        return self.num_examples

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each example, [n]; ids are unique and stay the same whatever the source's order."""
        return self.column("id")

    @cached_property
    def domains(self) -> Shaped[np.ndarray, "n"]:
        """The domain of each example, text; empty where the source has none."""
        return np.asarray(self.column("domain"))

    @property
    def is_classified(self) -> bool:
        """Whether each example is labelled with a class."""
        return False

    def column(self, name: str) -> list:
        """A column of `examples.parquet`, [n]."""
        return pq.read_table(self.artifact.file("examples.parquet"), columns=[name])[name].to_pylist()

    @cached_property
    def windows(self) -> Windows:
        """The windows of all examples: one each, where examples are not split."""
        return Windows(np.arange(len(self)), np.ones(len(self)), self.lengths())

    def windows_of(self, indices: Positions) -> tuple[Int[np.ndarray, "w"], Int[np.ndarray, "w"]]:
        """The windows of the examples at `indices`, and to which entry of `indices` each of them belongs."""
        starts, indices = self._window_starts, np.asarray(indices, dtype=np.int64)
        counts = starts[indices + 1] - starts[indices]
        member = np.repeat(np.arange(len(indices)), counts)
        return np.arange(counts.sum()) + np.repeat(starts[indices] - np.cumsum(counts) + counts, counts), member

    @cached_property
    def _window_starts(self) -> Int[np.ndarray, "n_plus_1"]:
        return np.searchsorted(self.windows.example, np.arange(len(self) + 1))

    @property
    def reading(self) -> dict[str, Any]:
        """How the examples are written: examples that a model reads alike have the same.

        Of text it is the hash of the tokenizer (where it is known), of images their shape, of both the classes.
        """
        return {}

    @property
    def num_outcomes(self) -> int:
        """Between how many outcomes a prediction chooses; a uniform guess has a loss of its logarithm."""
        raise NotImplementedError

    def batch(self, windows: Positions) -> Batch:
        """The windows of these numbers as model input (see `thresher.outputs`).

        Where every example has one window, the number of an example is that of its window.
        """
        raise NotImplementedError

    def lengths(self) -> Int[np.ndarray, "n"]:
        """What each example holds, as budgets count it: tokens for language (its end token too), 1 for images."""
        raise NotImplementedError

    def preview(self, index: int) -> str:
        """What a person reads of one example."""
        raise NotImplementedError

    def picture(self, index: int) -> str | None:
        """What a person sees of one example, a `data:` URI; None for text."""
        return None


class Labelled(Examples):
    """Examples with one label each, for models whose outputs are the classes. On disk: `labels.npy` int64 [n]."""

    @property
    def is_classified(self) -> bool:
        """Always true."""
        return True

    @cached_property
    def labels(self) -> Int[np.ndarray, "n"]:
        """The number of each example's class in `classes`."""
        return np.load(self.artifact.file("labels.npy"))

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of their numbers."""
        return self.artifact.facts["classes"]

    @property
    def reading(self) -> dict[str, Any]:
        """How the examples are written, and the classes."""
        return {**super().reading, "classes": list(self.classes)}

    @property
    def num_outcomes(self) -> int:
        """The number of classes."""
        return len(self.classes)


def reads_alike(key: str, one: Any, other: Any) -> bool:
    """Whether two values of `reading` mean the same: of classes, one may have the first few of the other's."""
    if key == "classes":
        shorter = min(len(one), len(other))
        return list(one)[:shorter] == list(other)[:shorter]
    return one == other
