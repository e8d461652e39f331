"""Tokens of examples on disk, and the windows a model reads them in.

`tokens.npy` [all tokens] holds the examples behind each other; `spans.npy` [n, 3] their length, the first predicted
token and the end of those; `windows.npy` [w, 3] the example of each window, and where in it the window starts and
stops; `layout.json` what all of them share.
"""

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Integer

from thresher.artifacts import Artifact, Draft
from thresher.data.writers import ArrayWriter


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the examples of a text artefact share. A file of its own, so that it counts as content."""

    sequence_length: int
    """Tokens in a window at most, and in a packed sequence."""
    vocab_size: int
    end_token: int = 0
    """Stands after each document of a packed pool, and fills up batches."""
    begin_token: int | None = None
    """Stands before each text, not predicted; None: nothing does."""
    packed: bool = False
    """Whether training puts documents behind each other into sequences; else an example is one of its own."""

    def save(self, draft: Draft) -> None:
        """Write `layout.json`."""
        with draft.file("layout.json") as file:
            file.write_text(json.dumps(asdict(self), indent=1))


def read_layout(artifact: Artifact) -> Layout:
    """The layout of an artefact of text."""
    return Layout(**json.loads(artifact.file("layout.json").read_text()))


class TokenWriter:
    """Writes examples one by one; the files' names begin with `prefix`."""

    def __init__(self, draft: Draft, layout: Layout, prefix: str = "") -> None:
        self._layout, self._files = layout, ExitStack()
        shapes = {"tokens": (), "spans": (3,), "windows": (3,)}
        dtypes = {"tokens": np.uint16 if layout.vocab_size <= 2**16 else np.uint32}
        self._arrays = {
            name: self._files.enter_context(
                ArrayWriter(
                    self._files.enter_context(draft.file(f"{prefix}{name}.npy")), shape, dtypes.get(name, np.int64)
                )
            )
            for name, shape in shapes.items()
        }
        self.num_predicted = self.num_split = 0

    @property
    def num_examples(self) -> int:
        """How many examples were written so far."""
        return self._arrays["spans"].num_rows

    def append(
        self,
        ids: Integer[np.ndarray, "t"],
        first: int,
        breaks: Bool[np.ndarray, "t"] | None = None,
        end: int | None = None,
    ) -> None:
        """Write an example: its tokens, of which those from `first` to before `end` (None: all) are predicted.

        `breaks` says before which tokens it may be cut (None: all), as in `cut`.
        """
        end = len(ids) if end is None else end
        windows = cut(len(ids), self._layout.sequence_length, breaks)
        number = np.full((len(windows), 1), self.num_examples)
        self._arrays["tokens"].append(ids)
        self._arrays["spans"].append(np.array([[len(ids), first, end]]))
        self._arrays["windows"].append(np.hstack([number, windows]))
        self.num_predicted += predicted_in(windows, first, end).sum()
        self.num_split += len(windows) > 1

    def facts(self) -> dict[str, int]:
        """Counts of what was written; `num_split` examples are read in several windows."""
        return {
            "num_examples": self.num_examples,
            "num_tokens": self._arrays["tokens"].num_rows,
            "num_predicted": int(self.num_predicted),
            "num_windows": self._arrays["windows"].num_rows,
            "num_split": int(self.num_split),
        }

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._files.__exit__(*error)


def cut(length: int, most: int, breaks: Bool[np.ndarray, "t"] | None = None) -> Int[np.ndarray, "w 2"]:
    """Where the windows of an example of `length` tokens start and stop.

    There are as few as there can be, of like length, each of at most `most` tokens, cut before the nearest earlier
    token at which `breaks` says that a character begins. A token that is left alone at the end has nothing to predict
    it from, and no window.
    """
    edges = [0]
    while edges[-1] < length:
        start, left = edges[-1], length - edges[-1]
        stop = start + -(-left // -(-left // most))
        if stop < length and breaks is not None:
            # Where no character begins in all of a window, it is cut where it ends.
            stop = next((place for place in range(stop, start + 1, -1) if breaks[place]), stop)
        edges.append(stop)
    windows = np.array([edges[:-1], edges[1:]]).T
    return windows[(windows[:, 1] - windows[:, 0] > 1) | (len(windows) == 1)]


def predicted_in(
    windows: Int[np.ndarray, "w 2"], first: int | Int[np.ndarray, "w"], end: int | Int[np.ndarray, "w"]
) -> Int[np.ndarray, "w"]:
    """How many tokens each window predicts: those from `first` to before `end`, but for the window's own first.

    That one counts only where `first` is 0: where every token is asked for, predicted or not.
    """
    start, stop = windows[:, 0], windows[:, 1]
    return np.maximum(np.minimum(stop, end) - np.maximum(start + (np.asarray(first) > 0), first), 0)


def save_rows(
    draft: Draft,
    tokens: Integer[np.ndarray, "n t"],
    spans: Int[np.ndarray, "n 3"],
    *,
    vocab_size: int,
    sequence_length: int | None = None,
) -> dict[str, int]:
    """Write tokens and their spans as the files of unpacked examples, and give the facts about them.

    A span is the length of an example, its first predicted token and the end of those; `sequence_length` is by default
    t.
    """
    layout = Layout(sequence_length=sequence_length or tokens.shape[1], vocab_size=vocab_size)
    layout.save(draft)
    with TokenWriter(draft, layout) as writer:
        for row, (length, first, end) in zip(tokens, np.asarray(spans).tolist(), strict=True):
            writer.append(row[:length], first, end=end)
    return writer.facts() | {"vocab_size": vocab_size}
