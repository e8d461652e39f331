"""Embeddings that no proxy makes: a column of the source's own rows, or a model of `sentence-transformers`."""

import hashlib
import importlib
import logging
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.data.examples import Examples, TokenExamples
from thresher.devices import pick_device
from thresher.errors import InputError
from thresher.selection.evidence import COLUMN, SENTENCES

ROWS = 4096
"""Read at once."""


def can_embed(examples: Examples | None) -> bool:
    """Whether examples are texts as somebody wrote them."""
    return isinstance(examples, TokenExamples)


def column_embeddings(name: str, examples: Examples) -> Float[np.ndarray, "n d"]:
    """The lists of numbers in the column `name` (`column:NAME`) of the rows that `examples` were prepared from.

    Raises InputError, with the example's id, where a row has none, or one of another length than the first's.
    """
    column, blocks = name.removeprefix(COLUMN), []
    assert isinstance(examples, TokenExamples)
    size: int | None = None
    for start in range(0, len(examples), ROWS):
        positions = np.arange(start, min(start + ROWS, len(examples)))
        vectors = []
        for position, row in zip(positions.tolist(), examples.source_columns(positions), strict=True):
            vector = row.get(column)
            size = len(vector) if size is None and isinstance(vector, list) else size
            if not isinstance(vector, list) or len(vector) != size or not all(map(_is_number, vector)) or not vector:
                id, what = examples.ids[position], "no numbers" if not isinstance(vector, list) else "other numbers"
                columns = ", ".join(row)
                raise InputError(
                    f"example {id!r} of {examples.artifact.path} has {what} in the column {column!r}; give every row a "
                    f"list of {size or 'so many'} numbers (its columns are: {columns})"
                )
            vectors.append(vector)
        blocks.append(np.array(vectors, dtype=np.float32))
    return np.concatenate(blocks)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class SentenceModel:
    """A model of `sentence-transformers` by its path or its name on the hub (`sentence-transformers:NAME`)."""

    def __init__(self, name: str, *, device: str = "auto") -> None:
        try:
            package = importlib.import_module("sentence_transformers")
        except ImportError:
            raise InputError(f"{name} needs sentence-transformers; pip install 'thresher[integrations]'") from None
        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # what goes wrong is said once, by us
        try:
            place = Path(name.removeprefix(SENTENCES)).expanduser()
            self._model = package.SentenceTransformer(str(place), device=str(pick_device(device)))
        except Exception as error:  # what the package, the hub and the files of a model raise
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{name} could not be loaded ({reason}); check the path, the name and the network"
            ) from error

    @cached_property
    def content_hash(self) -> str:
        """Of the weights: what embeddings that are kept are known by."""
        digest = hashlib.sha256(f"{SENTENCES}{self._model.max_seq_length}".encode())
        for name, tensor in self._model.state_dict().items():
            digest.update(f"{name} {list(tensor.shape)}".encode() + tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, examples: Examples) -> Float[np.ndarray, "n d"]:
        """The embedding of each text as it was written; of one too long, of as much as the model reads."""
        assert isinstance(examples, TokenExamples)
        blocks = [
            self._model.encode(examples.texts(np.arange(start, min(start + ROWS, len(examples)))),
                               convert_to_numpy=True, show_progress_bar=False)
            for start in range(0, len(examples), ROWS)
        ]  # fmt: skip
        return np.concatenate(blocks).astype(np.float32)
