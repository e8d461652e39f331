"""From a user's batch to what a model is called with and what is measured: the one place that knows their forms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thresher.api.batches import Inputs, check_labels, is_integer, keywords_of, logits_in, split
from thresher.api.loaders import Data
from thresher.data.examples import Examples
from thresher.outputs import Batch

BESIDE = ("attention_mask", "token_type_ids", "position_ids")
"""Integers that go beside tokens, and that labels never repeat."""
Loss = Callable[[Any, Any], Tensor]
"""(what the model gives, the batch) -> the loss of each example, [b]."""


@dataclass(frozen=True)
class Form:
    """How batches of this data are read for this model; all batches of both sides have one form."""

    accepts: frozenset[str] | None
    """The keywords of the model; None: any."""
    aligned: bool
    """Whether labels [b, t] are of the very positions of the logits, as cross_entropy takes them; False: as
    `transformers` has them, a copy of the inputs."""
    keys: tuple[str, ...] | None = None
    """The keywords that the model is called with; None: by position."""
    num_inputs: int = 1
    is_text: bool = False
    """Whether the model reads tokens."""

    @property
    def is_plain(self) -> bool:
        """Whether the fast engine, which calls a model with one tensor or with tokens and a mask, cannot read it."""
        return self.num_inputs > 1 and self.keys not in (("input_ids", "attention_mask"), ("input_ids",))

    def split(self, batch: Any, name: str) -> Inputs:
        """The batch taken apart."""
        return split(batch, self.accepts, name)

    def engine_batch(self, batch: Any, name: str) -> Batch:
        """The batch in the names of `thresher.outputs`, for a model wrapped by `wrap`."""
        inputs = self.split(batch, name)
        assert inputs.labels is not None
        labels = _moved(inputs.labels) if self.aligned else inputs.labels
        if inputs.named is not None and "input_ids" in inputs.named:
            return {**inputs.named, "labels": labels}
        return {"pixel_values": inputs.values()[0], "labels": labels}

    def as_followed(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and labels as `thresher.outputs` reads them, where each position predicts the label of the next."""
        return (_padded(logits), _moved(labels)) if self.aligned else (logits, labels)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as the fast engine calls it."""
        return _Called(model, None if self.keys is None else self.keys[0], self.aligned)


def form_of(model: nn.Module, data: Data, *, needs_labels: bool) -> Form:
    """The form of the batches of `data`, from its first one. Raises InputError for data without labels."""
    accepts = keywords_of(model)
    inputs = split(data.batch([0]), accepts, data.name)
    if needs_labels:
        check_labels(inputs.labels, data.name)
    aligned = inputs.labels is not None and inputs.labels.ndim == 2 and not _is_causal(model, data, accepts)
    keys = None if inputs.named is None else tuple(inputs.named)
    if keys is not None and set(keys) == {"input_ids", "attention_mask"}:
        keys = ("input_ids", "attention_mask")
    is_text = any(is_integer(value) and value.ndim == 2 for value in inputs.values())
    return Form(accepts, aligned, keys, len(inputs.values()), is_text)


class Readable(Examples):
    """A user's data as the examples that `attribution` reads, in memory: one window each, in batches of their own."""

    def __init__(self, data: Data, form: Form) -> None:
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "form", form)

    data: Data
    form: Form

    @property
    def num_examples(self) -> int:
        """Of the user's data set."""
        return len(self.data)

    def column(self, name: str) -> list[str]:
        """Names by position, for messages."""
        return [f"{self.data.name} {row}" for row in range(len(self))]

    def batch(self, windows: np.ndarray | Sequence[int]) -> Batch:
        """By the user's own collate."""
        return self.form.engine_batch(self.data.batch(windows), self.data.name)

    def lengths(self) -> np.ndarray:
        """1 each, so that a batch is so many examples in their order."""
        return np.ones(len(self), dtype=np.int64)

    def preview(self, index: int) -> str:
        """The example as Python shows it."""
        return repr(self.data.row(index))


class _Called(nn.Module):
    """A model called with one tensor (by position, or as `key`), or with tokens and their mask; gives logits."""

    def __init__(self, model: nn.Module, key: str | None, aligned: bool) -> None:
        super().__init__()
        self.model, self.key, self.aligned = model, key, aligned
        self.extra = {"use_cache": False} if "use_cache" in (keywords_of(model) or ()) else {}

    def forward(self, value: Tensor | None = None, **named: Tensor) -> Tensor:
        if named:
            output = self.model(**named, **self.extra)
        else:
            output = self.model(value) if self.key is None else self.model(**{self.key: value})
        logits = logits_in(output)
        return _padded(logits) if self.aligned and logits.ndim == 3 else logits


def _is_causal(model: nn.Module, data: Data, accepts: frozenset[str] | None) -> bool:
    """Whether labels [b, t] are predicted one position before, as `transformers` has them in language models.

    So they are where they repeat an input of tokens wherever they say anything, and under a language model that is
    given embeddings in place of tokens. Decoders behind an encoder shift their inputs themselves.
    """
    base = getattr(model, "get_base_model", lambda: model)()
    config = getattr(base, "config", None)
    if getattr(config, "is_encoder_decoder", False) is True:
        return False
    examples = [split(data.batch([row]), accepts, data.name) for row in range(min(len(data), 4))]
    tokens = [_tokens(inputs) for inputs in examples]
    if any("inputs_embeds" in (inputs.named or ()) for inputs in examples) and not all(tokens):
        return config is not None and getattr(base, "can_generate", lambda: False)()
    return any(
        all(_repeats(inputs.labels, values[place]) for inputs, values in zip(examples, tokens, strict=True))
        for place in range(min(map(len, tokens)))
    )


def _tokens(inputs: Inputs) -> list[Tensor]:
    """The inputs that labels may repeat: `input_ids` where there is one, else all integers [b, t] that are no mask."""
    named = inputs.named or {}
    if "input_ids" in named:
        return [named["input_ids"]]
    values = [value for name, value in named.items() if name not in BESIDE] or list(inputs.positional)
    return [value for value in values if is_integer(value) and value.ndim == 2]


def _repeats(labels: Tensor | None, tokens: Tensor) -> bool:
    if labels is None or labels.shape != tokens.shape:
        return False
    said = labels != -100
    return bool((tokens == labels)[said].all())


def _moved(labels: Tensor) -> Tensor:
    """Labels [b, t] one position to the right, [b, t + 1]; others as they are."""
    return torch.cat([torch.full_like(labels[:, :1], -100), labels], dim=1) if labels.ndim == 2 else labels


def _padded(logits: Tensor) -> Tensor:
    """Logits with a last position that predicts nothing, [b, t + 1, v], beside labels that were moved."""
    return nn.functional.pad(logits, (0, 0, 0, 1))
