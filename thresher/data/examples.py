"""Prepared examples, read from disk: what training, attribution and evaluation all iterate over."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from thresher.artifacts import Artifact, open_artifact
from thresher.outputs import Batch


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

    def column(self, name: str) -> list:
        return pq.read_table(self.artifact.file("examples.parquet"), columns=[name])[name].to_pylist()

    def batch(self, indices: np.ndarray | Sequence[int]) -> Batch:
        """The examples at `indices` (positions, not ids) as model input; see `thresher.outputs`."""
        raise NotImplementedError

    def lengths(self) -> np.ndarray:
        """The cost of each example in units that batches can be balanced by: tokens for language, 1 for images, [n]."""
        raise NotImplementedError

    def preview(self, index: int) -> str:
        """What a person reads of one example."""
        raise NotImplementedError

    def picture(self, index: int) -> str | None:
        """What a person sees of one example, a `data:` URI; None for text."""
        return None


class TokenExamples(Examples):
    """Sequences of tokens. On disk: `tokens.npy` [n, t], `spans.npy` [n, 3]: length, first predicted, end."""

    @cached_property
    def tokens(self) -> np.ndarray:
        return np.load(self.artifact.file("tokens.npy"), mmap_mode="r")

    @cached_property
    def spans(self) -> np.ndarray:
        return np.load(self.artifact.file("spans.npy"), mmap_mode="r")

    @property
    def vocab_size(self) -> int:
        return self.artifact.facts["vocab_size"]

    @property
    def sequence_length(self) -> int:
        return self.tokens.shape[1]

    def batch(self, indices):
        indices = np.asarray(indices)
        spans = self.spans[indices]
        width = max(int(spans[:, 0].max()), 2)  # no wider than its longest example
        tokens = torch.from_numpy(self.tokens[indices, :width].astype(np.int64))
        positions = torch.arange(width)
        first, end = (torch.from_numpy(spans[:, column].astype(np.int64))[:, None] for column in (1, 2))
        labels = torch.where((positions >= first) & (positions < end), tokens, -100)
        return {"input_ids": tokens, "labels": labels}

    def lengths(self):
        return np.asarray(self.spans[:, 0], dtype=np.int64)

    def preview(self, index):
        return self.tokenizer.decode(self.tokens[index, : self.spans[index, 0]].tolist(), skip_special_tokens=False)

    @cached_property
    def tokenizer(self):
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.artifact.file("tokenizer.json")))

    @property
    def tokenizer_hash(self) -> str | None:
        """Of what the tokenizer does; None where whoever made the artefact did not say."""
        return self.artifact.meta["inputs"].get("tokenizer")

    @cached_property
    def choices(self) -> "Choices | None":
        """Every choice of every example, right and wrong; None where there are none to choose from."""
        return Choices(self.artifact) if "choices.parquet" in self.artifact.meta["files"] else None


class Choices(TokenExamples):
    """The choices of a multiple-choice target: m sequences, a few for each of its examples, right ones included.

    The examples themselves are the right choices alone, so that losses and attribution are of those. On disk:
    `choice_tokens.npy` [m, t], `choice_spans.npy` [m, 3], `choices.parquet` (example, right), in the examples' order.
    """

    @cached_property
    def tokens(self):
        return np.load(self.artifact.file("choice_tokens.npy"), mmap_mode="r")

    @cached_property
    def spans(self):
        return np.load(self.artifact.file("choice_spans.npy"), mmap_mode="r")

    @property
    def num_examples(self):
        return len(self.spans)

    @cached_property
    def example(self) -> np.ndarray:
        """The row of the example that each choice belongs to, not falling, [m]."""
        return self._table["example"].to_numpy()

    @cached_property
    def starts(self) -> np.ndarray:
        """Where the choices of each example begin, [n]."""
        return np.flatnonzero(np.diff(self.example, prepend=-1))

    @cached_property
    def right(self) -> np.ndarray:
        """Whether each choice is the right one, [m] of bool."""
        return self._table["right"].to_numpy()

    @property
    def num_predicted(self) -> np.ndarray:
        """The number of predicted tokens of each choice, [m]."""
        return np.asarray(self.spans[:, 2] - self.spans[:, 1], dtype=np.int64)

    def column(self, name):
        return np.asarray(super().column(name))[self.example].tolist()

    @cached_property
    def _table(self):
        return pq.read_table(self.artifact.file("choices.parquet"))


class ImageExamples(Examples):
    """Labelled images. On disk: `images.npy` uint8 [n, h, w, c], `labels.npy` int64 [n]."""

    @cached_property
    def images(self) -> np.ndarray:
        return np.load(self.artifact.file("images.npy"), mmap_mode="r")

    @cached_property
    def labels(self) -> np.ndarray:
        return np.load(self.artifact.file("labels.npy"))

    @property
    def classes(self) -> list[str]:
        return self.artifact.facts["classes"]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def batch(self, indices):
        indices = np.asarray(indices)
        # In torch's usual layout: some of its convolutions are wrong in the other (see `proxies.vision`).
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2).contiguous().float()
        # To about zero mean and unit spread, with no statistics that would have to travel with the model.
        return {"pixel_values": images / 127.5 - 1, "labels": torch.from_numpy(self.labels[indices])}

    def lengths(self):
        return np.ones(len(self), dtype=np.int64)

    def preview(self, index):
        return f"label: {self.classes[int(self.labels[index])]}"

    def picture(self, index):
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self.images[index])).save(buffer, format="PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


KINDS = {"text-examples": TokenExamples, "image-examples": ImageExamples}


def open_examples(path: Path) -> Examples:
    """A prepared pool or target, of whichever kind it is."""
    artifact = open_artifact(path)
    if artifact.kind not in KINDS:
        open_artifact(path, "text-examples")  # refuses, and says what it is
    return KINDS[artifact.kind](artifact)


def batches(examples: Examples, indices: np.ndarray, batch_size: int) -> Iterator[Batch]:
    """The examples at `indices`, in order, `batch_size` at a time."""
    for start in range(0, len(indices), batch_size):
        yield examples.batch(indices[start : start + batch_size])
