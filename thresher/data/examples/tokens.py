"""Text as examples: documents that a model reads in windows, their windows, multiple choice."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Int, UInt
from tokenizers import Tokenizer

from thresher.canonical import hash_json
from thresher.data.examples.base import Examples, Positions, Windows
from thresher.data.examples.document_rows import rows_at, source_row
from thresher.data.text.documents import as_one_text
from thresher.data.text.predicted_bytes import bytes_of_runs
from thresher.data.token_files import Layout, predicted_in, read_layout
from thresher.outputs import Batch


class TokenExamples(Examples):
    """Documents, or prompts with their continuations, as tokens. On disk: see `token_files` and `DocumentsTable`."""

    prefix = ""
    """What the names of the files of tokens begin with."""

    @property
    def is_classified(self) -> bool:
        """Whether the texts predicted are the names of classes."""
        columns = self.artifact.meta["config"].get("columns") or {}
        return bool(columns.get("classify"))

    @cached_property
    def layout(self) -> Layout:
        """What all examples share: the sequence length, the end token, whether they are packed."""
        return read_layout(self.artifact)

    @cached_property
    def stream(self) -> UInt[np.ndarray, "t"]:
        """The tokens of all examples, one behind the other, read from disk as they are asked for."""
        return np.load(self.artifact.file(f"{self.prefix}tokens.npy"), mmap_mode="r")

    @cached_property
    def spans(self) -> Int[np.ndarray, "n 3"]:
        """The length of each example, its first predicted token, and the end of those."""
        return np.load(self.artifact.file(f"{self.prefix}spans.npy"), mmap_mode="r")

    @cached_property
    def offsets(self) -> Int[np.ndarray, "n_plus_1"]:
        """Where each example begins in `stream`, and the end of the last."""
        return np.concatenate([[0], np.cumsum(self.spans[:, 0])])

    @property
    def tokens(self) -> "_Tokens":
        """`tokens[i]` are those of example i, [t]."""
        return _Tokens(self.stream, self.offsets)

    @property
    def vocab_size(self) -> int:
        """How many embeddings a model needs for the tokens."""
        return self.layout.vocab_size

    @property
    def reading(self) -> dict[str, Any]:
        """The hash of the tokenizer, where it is known."""
        return {"tokenizer": self.tokenizer_hash} if self.tokenizer_hash else {}

    @property
    def num_outcomes(self) -> int:
        """The size of the vocabulary."""
        return self.vocab_size

    @property
    def sequence_length(self) -> int:
        """Tokens that a model reads at once, at most."""
        return self.layout.sequence_length

    @cached_property
    def _windows(self) -> Int[np.ndarray, "w 3"]:
        return np.load(self.artifact.file(f"{self.prefix}windows.npy"), mmap_mode="r")

    @cached_property
    def windows(self) -> Windows:
        """The windows of all examples, several of one that is longer than the sequence length."""
        example, edges = np.asarray(self._windows[:, 0]), self._windows[:, 1:]
        predicted = predicted_in(edges, self.spans[example, 1], self.spans[example, 2]).astype(np.float64)
        totals = np.bincount(example, weights=predicted, minlength=len(self))
        # An example with nothing to predict has one window, which counts for all of it.
        weights = np.where(totals[example] > 0, predicted / np.maximum(totals[example], 1), 1.0)
        return Windows(example, weights, np.asarray(edges[:, 1] - edges[:, 0]))

    @property
    def window_starts(self) -> Int[np.ndarray, "w"]:
        """Which token of its example each window begins with, from 0."""
        return np.asarray(self._windows[:, 1], dtype=np.int64)

    @cached_property
    def _predicted(self) -> Int[np.ndarray, "w 3"]:
        """The document of each window, and from which of its tokens to before which the window predicts."""
        example, _, stop = np.asarray(self._windows).T
        counts = predicted_in(self._windows[:, 1:], *self.spans[example, 1:].T)
        stops = np.minimum(stop, self.spans[example, 2])
        return np.stack([example, stops - counts, stops], axis=1)

    @property
    def num_predicted(self) -> Int[np.ndarray, "n"]:
        """How many tokens of each example are predicted."""
        return self._of_examples(self._predicted[:, 2] - self._predicted[:, 1])

    @cached_property
    def predicted_bytes(self) -> Int[np.ndarray, "n"] | None:
        """The UTF-8 bytes of the text that the predicted tokens of each example stand for; an end token for none.

        None where the artefact does not hold the texts and their tokenizer.
        """
        if not {"documents.parquet", "tokenizer.json"} <= set(self.artifact.meta["files"]):
            return None
        where = (self._predicted, self.stream, self.offsets, self.layout, self.tokenizer)
        sizes = bytes_of_runs(*where, lambda members: TokenExamples.texts(self, members))
        return None if sizes is None else self._of_examples(sizes)

    def _of_examples(self, values: Int[np.ndarray, "w"]) -> Int[np.ndarray, "n"]:
        """The sums over the windows of each example."""
        return np.bincount(self.windows.example, weights=values, minlength=len(self)).astype(np.int64)

    def batch(self, windows: Positions) -> Batch:
        """`input_ids` and `labels` [b, t], as wide as the longest of the windows; -100 where nothing is predicted."""
        example, start, stop = np.asarray(self._windows[np.asarray(windows)]).T
        width = max(int((stop - start).max()), 2)  # no wider than its longest window
        places = start[:, None] + np.arange(width)
        inside = places < stop[:, None]
        tokens = self.stream[np.where(inside, self.offsets[example][:, None] + places, 0)].astype(np.int64)
        tokens[~inside] = self.layout.end_token
        first, end = (self.spans[example, column][:, None] for column in (1, 2))
        # The first token of a window has nothing to be predicted from.
        is_predicted = inside & (places >= np.maximum(first, start[:, None] + (first > 0))) & (places < end)
        labels = np.where(is_predicted, tokens, -100)
        return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(labels)}

    def lengths(self) -> Int[np.ndarray, "n"]:
        """The tokens of each example, its end token too."""
        return np.asarray(self.spans[:, 0], dtype=np.int64)

    def preview(self, index: int) -> str:
        """The text of an example's tokens."""
        return self.tokenizer.decode(self.tokens[index].tolist(), skip_special_tokens=False)

    def texts(self, indices: Positions) -> list[str]:
        """The documents at `indices` as the source has them, a prompt and its continuation as one text."""
        return [as_one_text(row["prompt"], row["text"]) for row in self.documents(indices)]

    def source_columns(self, indices: Positions) -> list[dict[str, Any]]:
        """The source's own rows at `indices`, by the names of their columns; the texts alone where no more was kept."""
        return [source_row(row, self.artifact.meta["config"].get("columns", {})) for row in self.documents(indices)]

    def documents(self, indices: Positions) -> list[dict[str, Any]]:
        """Rows of `documents.parquet` at `indices`: prompt, text, columns, as written."""
        return rows_at(self.artifact.file("documents.parquet"), indices)

    def by_window(self) -> "WindowExamples":
        """The same text with every window an example of its own."""
        return WindowExamples(self.artifact)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the examples were made with."""
        return Tokenizer.from_file(str(self.artifact.file("tokenizer.json")))

    @property
    def tokenizer_hash(self) -> str | None:
        """A hash of what the tokenizer does; None where whoever made the artefact did not say."""
        return self.artifact.meta["inputs"].get("tokenizer")

    @cached_property
    def choices(self) -> "Choices | None":
        """Every choice of every example, right and wrong; None where there are none to choose from."""
        return Choices(self.artifact) if "choices.parquet" in self.artifact.meta["files"] else None


@dataclass(frozen=True)
class _Tokens:
    """Arrays of different lengths behind each other, by number."""

    stream: np.ndarray
    offsets: np.ndarray

    def __getitem__(self, index: int) -> np.ndarray:
        return self.stream[self.offsets[index] : self.offsets[index + 1]]


def is_packed(examples: Examples) -> TypeGuard[TokenExamples]:
    """Whether whole documents stand in one stream, from which sequences are cut."""
    return isinstance(examples, TokenExamples) and examples.layout.packed


class WindowExamples(TokenExamples):
    """The windows of documents as examples of their own, `ID:0`, `ID:1`, ...: scores of parts, on request."""

    @property
    def content_hash(self) -> str:
        """Another hash than that of the whole documents."""
        return hash_json([self.artifact.content_hash, "windows"])

    @property
    def num_examples(self) -> int:
        """The number of windows."""
        return len(self._windows)

    @cached_property
    def windows(self) -> Windows:
        """Each window is an example's only one."""
        return Windows(np.arange(len(self)), np.ones(len(self)), self.lengths())

    @property
    def window_starts(self) -> Int[np.ndarray, "w"]:
        """Each begins with its first token."""
        return np.zeros(len(self), dtype=np.int64)

    def column(self, name: str) -> list:
        """A column of `examples.parquet` for each window; ids have the window's number after a colon."""
        whole, example = super().column(name), self._windows[:, 0]
        if name != "id":
            return [whole[row] for row in example.tolist()]
        number = np.arange(len(example)) - np.searchsorted(example, example)
        return [f"{whole[row]}:{turn}" for row, turn in zip(example.tolist(), number.tolist(), strict=True)]

    def lengths(self) -> Int[np.ndarray, "n"]:
        """The tokens of each window."""
        return np.asarray(self._windows[:, 2] - self._windows[:, 1])

    def preview(self, index: int) -> str:
        """The text of a window's tokens."""
        example, start, stop = self._windows[index].tolist()
        return self.tokenizer.decode(self.tokens[example][start:stop].tolist(), skip_special_tokens=False)

    def texts(self, indices: Positions) -> list[str]:
        """The texts of the windows' tokens."""
        return [self.preview(int(index)) for index in indices]

    def source_columns(self, indices: Positions) -> list[dict[str, Any]]:
        """The texts alone: a window is no row of the source."""
        return [{"text": text} for text in self.texts(indices)]

    @cached_property
    def choices(self) -> None:
        """None: choices are of documents, not of their windows."""
        return None


def as_scored(examples: Examples, ids: Sequence[str]) -> Examples:
    """The examples as something was made of them: by their windows where its `ids` are theirs, else as they are."""
    if is_packed(examples) and len(ids) and str(ids[0]) == f"{examples.ids[0]}:0":
        return examples.by_window()
    return examples


class Choices(TokenExamples):
    """The choices of a multiple-choice target: m sequences, a few for each of its examples, right ones included.

    The examples themselves are the right choices alone, so that losses and attribution are of those. On disk: the
    files of tokens with `choice_` before their names, and `choices.parquet` (example, right), in the examples' order.
    """

    prefix = "choice_"

    @property
    def num_examples(self) -> int:
        """The number of choices, m."""
        return len(self.spans)

    @cached_property
    def example(self) -> Int[np.ndarray, "m"]:
        """The row of the example that each choice belongs to, in ascending order."""
        return self._table["example"].to_numpy()

    @cached_property
    def starts(self) -> Int[np.ndarray, "n"]:
        """Where the choices of each example begin."""
        return np.flatnonzero(np.diff(self.example, prepend=-1))

    @cached_property
    def right(self) -> Bool[np.ndarray, "m"]:
        """Whether each choice is the right one."""
        return self._table["right"].to_numpy()

    @cached_property
    def predicted_bytes(self) -> None:
        """None: the texts that are kept are the right choices' alone."""
        return None

    def column(self, name: str) -> list:
        """A column of `examples.parquet` for each choice: what its example has."""
        return np.asarray(super().column(name))[self.example].tolist()

    @cached_property
    def _table(self):
        return pq.read_table(self.artifact.file("choices.parquet"))
