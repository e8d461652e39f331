"""Labelled text as examples: texts and their classes."""

from functools import cached_property

import numpy as np
import torch

from thresher.data.examples.base import Labelled, Positions
from thresher.data.examples.tokens import TokenExamples
from thresher.outputs import Batch


class LabelledTextExamples(Labelled, TokenExamples):
    """Texts and their classes. A batch is `input_ids`, `attention_mask` [b, t] and `labels` [b]."""

    def batch(self, windows: Positions) -> Batch:
        """`input_ids` and `attention_mask` [b, t], and the class of each text in `labels` [b]."""
        indices = np.asarray(windows)
        tokens = super().batch(indices)["input_ids"]
        inside = torch.arange(tokens.shape[1]) < torch.from_numpy(self.lengths()[indices])[:, None]
        labels = torch.from_numpy(self.labels[indices])
        return {"input_ids": tokens, "attention_mask": inside.long(), "labels": labels}

    def preview(self, index: int) -> str:
        """The text, and the name of its class."""
        return f"{self.texts([index])[0]}\nlabel: {self.classes[int(self.labels[index])]}"

    @cached_property
    def predicted_bytes(self) -> None:
        """None: a class is predicted, and no text."""
        return None

    @cached_property
    def choices(self) -> None:
        """None: all classes are there in the logits."""
        return None

    def by_window(self) -> "LabelledTextExamples":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same: each text is one window."""
        return self
