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
from jaxtyping import Float, Int
from torch import Tensor

from thresher.artifacts import Artifact
from thresher.outputs import Batch


class Windows(NamedTuple):
    """What a model reads at once, in the order of the examples. What is measured of an example is the mean over its
    windows with `weights`: so the mean over its predicted tokens, and its gradient that mean's."""

    example: Int[np.ndarray, "w"]
    """The position of the example that each window belongs to."""
    weights: Float[np.ndarray, "w"]
    """Its share of the example's predicted tokens; they sum to 1 for each example."""
    lengths: Int[np.ndarray, "w"]
    """Tokens of text, 1 for an image."""


def add_shares(total: Tensor, owners: Int[np.ndarray, "b"], weights: Float[np.ndarray, "b"], values: Tensor) -> None:
    """Add what was read of a batch of windows, [b, ...], to `total` [n, ...] of the examples that they are of, in place
    and in the kind of `total`; `weights` are theirs in `Windows`."""
    shares = torch.from_numpy(weights).to(total).view(-1, *[1] * (values.ndim - 1))
    total.index_add_(0, torch.from_numpy(owners), values.to(total) * shares)


@dataclass(frozen=True)
class Examples:
    """A prepared pool or target: n examples with stable ids, read from disk as they are asked for."""

    artifact: Artifact

    @property
    def content_hash(self) -> str:
        return self.artifact.content_hash

    @property
    def num_examples(self) -> int:
        return self.artifact.facts["num_examples"]

    def __len__(self) -> int:
        return self.num_examples

    @cached_property
    def ids(self) -> Sequence[str]:
        return self.column("id")

    @cached_property
    def domains(self) -> np.ndarray:
        """The domain of each example, [n] of str ("" where the source has none)."""
        return np.asarray(self.column("domain"))

    @property
    def is_classified(self) -> bool:
        """Whether each example is labelled with a class."""
        return False

    def column(self, name: str) -> list:
        return pq.read_table(self.artifact.file("examples.parquet"), columns=[name])[name].to_pylist()

    @cached_property
    def windows(self) -> Windows:
        """Of all examples: one each."""
        return Windows(np.arange(len(self)), np.ones(len(self)), self.lengths())

    def windows_of(
        self, indices: Int[np.ndarray, "m"] | Sequence[int]
    ) -> tuple[Int[np.ndarray, "w"], Int[np.ndarray, "w"]]:
        """The windows of the examples at `indices`, and to which entry of `indices` each of them belongs."""
        starts, indices = self._window_starts, np.asarray(indices, dtype=np.int64)
        counts = starts[indices + 1] - starts[indices]
        member = np.repeat(np.arange(len(indices)), counts)
        return np.arange(counts.sum()) + np.repeat(starts[indices] - np.cumsum(counts) + counts, counts), member

    @cached_property
    def _window_starts(self) -> Int[np.ndarray, "n+1"]:
        return np.searchsorted(self.windows.example, np.arange(len(self) + 1))

    @property
    def reading(self) -> dict[str, Any]:
        """How the examples are written: those that a model reads alike have the same. Of text the hash of its tokenizer
        (where it is known), of images their shape, of both the classes."""
        return {}

    @property
    def num_outcomes(self) -> int:
        """Between how many a prediction chooses: a uniform guess has a loss of its logarithm."""
        raise NotImplementedError

    def batch(self, windows: np.ndarray | Sequence[int]) -> Batch:
        """Some windows as model input; see `thresher.outputs`. Where examples have one window, they are its number."""
        raise NotImplementedError

    def lengths(self) -> np.ndarray:
        """What each example holds, [n]: tokens for language (its end token too), 1 for images. Budgets count these."""
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
        return True

    @cached_property
    def labels(self) -> np.ndarray:
        return np.load(self.artifact.file("labels.npy"))

    @property
    def classes(self) -> list[str]:
        return self.artifact.facts["classes"]

    @property
    def reading(self):
        return {**super().reading, "classes": list(self.classes)}

    @property
    def num_outcomes(self):
        return len(self.classes)


def reads_alike(key: str, one: Any, other: Any) -> bool:
    """Whether two values of `reading` mean the same: of classes, one may have the first few of the other's."""
    if key == "classes":
        shorter = min(len(one), len(other))
        return list(one)[:shorter] == list(other)[:shorter]
    return one == other
