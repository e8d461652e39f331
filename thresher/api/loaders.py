"""Any data set of a user, read in its own order with its own transforms and its own way to make batches."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from thresher.api.handles import Examples
from thresher.attribution.identity import Opaque, identity_of
from thresher.data.examples import TokenExamples
from thresher.errors import InputError
from thresher.seeds import derive

BATCH_SIZE = 32


@dataclass(frozen=True)
class Data:
    """One side of an attribution: examples by position, and how several become a batch."""

    name: str
    """`train` or `test`, as messages call it."""
    examples: Any
    """What `examples[i]` gives for 0 <= i < `len(examples)`."""
    collate: Callable[[list[Any]], Any]
    batch_size: int

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Sequence[int] | np.ndarray) -> Any:
        """The examples at `indices` as one batch of the user's kind; mappings become plain dictionaries.

        Random transforms draw from a seed of the example's position, so that it is the same each time it is read.
        Raises InputError where the examples cannot be made one batch.
        """
        rows = [self.row(int(index)) for index in indices]
        try:
            batch = self.collate(rows)
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise InputError(
                f"{self.name} examples {int(indices[0])} to {int(indices[-1])} cannot be made one batch ({reason}); "
                "give a DataLoader with a collate_fn that can"
            ) from error
        return dict(batch) if isinstance(batch, Mapping) else batch

    def row(self, index: int) -> Any:
        """One example, as the data set gives it."""
        seed = derive(0, "example", index)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        return self.examples[index]

    def positions(self) -> Iterator[np.ndarray]:
        """Consecutive positions, `batch_size` at a time."""
        for start in range(0, len(self), self.batch_size):
            yield np.arange(start, min(start + self.batch_size, len(self)))

    def content_hash(self) -> str:
        """SHA-256 of every batch: the same for the same numbers, wherever they come from.

        Raises InputError for batches that hold what has no content, such as an open file.
        """
        digest = hashlib.sha256()
        for indices in self.positions():
            digest.update(content_of(self.batch(indices), f"a batch of {self.name}").encode())
        return digest.hexdigest()


class PreparedData(Data):
    """Prepared examples, each window of a document an example of its own."""

    def batch(self, indices: Sequence[int] | np.ndarray) -> Any:
        """In the names of `thresher.outputs`."""
        return self.examples.batch(np.asarray(indices))

    def row(self, index: int) -> Any:
        """The id of an example and what a person reads of it."""
        return {"id": self.examples.ids[index], "preview": self.examples.preview(index)}


def data_of(source: Any, name: str, batch_size: int | None = None) -> Data:
    """Anything with examples in it: a DataLoader, a Dataset of torch or of `datasets`, a list, prepared examples.

    A DataLoader gives its data set, its collate_fn and its batch size; its sampler is left alone, so that examples are
    counted as in the data set. Raises InputError for what has no examples, and for an empty one.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size={batch_size} is too small; pass 1 or more")
    if isinstance(source, Examples):
        read = source.load()
        windows = read.by_window() if isinstance(read, TokenExamples) else read
        return PreparedData(name, windows, default_collate, batch_size or BATCH_SIZE)
    examples: Any = source
    collate, size = default_collate, batch_size
    if isinstance(source, DataLoader):
        examples, collate = source.dataset, source.collate_fn
        size = size or source.batch_size
        if source.batch_size is None and source.batch_sampler is None:
            collate = default_collate  # the loader's own is of single examples
    if isinstance(examples, IterableDataset):
        examples = list(examples)
    # A table of `datasets` that was given no format holds Python lists, which nothing can stack.
    if hasattr(examples, "with_format") and (getattr(examples, "format", None) or {}).get("type", "") is None:
        examples = examples.with_format("torch")
    if not hasattr(examples, "__getitem__") or not hasattr(examples, "__len__") or isinstance(examples, str | Mapping):
        raise InputError(
            f"{name} is a {type(source).__name__}, which has no examples by position; give a Dataset, a DataLoader or "
            "a list of (x, y)"
        )
    if len(examples) == 0:
        raise InputError(f"{name} has 0 examples; give data with at least one")
    return Data(name, examples, collate, size or BATCH_SIZE)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Inside, the CPU's global generators may be seeded and drawn from; afterwards they are as they were."""
    python, numpy, generator = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.default_generator.set_state(generator)


def content_of(value: Any, name: str, *, strict: bool = True) -> str:
    """SHA-256 of all that a value is made of. Raises InputError for what has no content, where `strict`."""
    try:
        return identity_of(value, name, strict=strict)
    except Opaque as error:
        raise InputError(
            f"cache cannot tell {name} from others: {error}, which has no content; leave cache out, or make {name} of "
            "numbers, tensors and functions"
        ) from None
