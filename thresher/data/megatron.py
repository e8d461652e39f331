"""Megatron's indexed data sets: `NAME.bin`, the tokens of all documents, and `NAME.idx`, where they begin and end.

The index (`megatron.core.datasets.IndexedDataset`): "MMIDIDX" and two zero bytes, the version 1 (uint64), the kind of
the numbers (uint8), how many sequences and how many document ends there are (uint64 each), then the length of each
sequence (int32), where it begins in the `.bin` in bytes (int64), and which sequence each document begins with, the end
last (int64). Everything is little-endian. What is written here is read by that class in the tests, and the other way
round.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int

from thresher.errors import InputError

MAGIC = b"MMIDIDX\x00\x00"
KINDS = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
"""NumPy's names of the numbers a data set of tokens may have, by Megatron's codes."""
TOKENIZER = "tokenizer.json"


def token_kind(vocab_size: int) -> int:
    """The code that Megatron itself chooses for a vocabulary: uint16 where it fits, else int32."""
    return 8 if vocab_size < 65500 else 4


def write_bin(file: Path, documents: Iterable[np.ndarray], kind: int) -> Int[np.ndarray, "n"]:
    """Write the tokens of `documents` behind each other; the number of tokens of each."""
    lengths = []
    with open(file, "wb") as stream:
        for tokens in documents:
            stream.write(np.ascontiguousarray(tokens, KINDS[kind]).data)
            lengths.append(len(tokens))
    return np.array(lengths, dtype=np.int64)


def write_idx(file: Path, lengths: Sequence[int] | Int[np.ndarray, "n"], kind: int) -> None:
    """Write the index of documents of these `lengths`, one sequence each."""
    sizes = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) * np.dtype(KINDS[kind]).itemsize
    with open(file, "wb") as stream:
        stream.write(MAGIC + struct.pack("<QBQQ", 1, kind, len(sizes), len(sizes) + 1))
        for values, dtype in ((sizes, "<i4"), (starts, "<i8"), (np.arange(len(sizes) + 1), "<i8")):
            stream.write(values.astype(dtype).tobytes())


def bin_of(index: Path) -> Path:
    """The tokens beside an index. Raises InputError where they are not."""
    file = index.with_suffix(".bin")
    if not file.is_file():
        raise InputError(f"{file} is missing, the tokens that {index} says the places of; copy it beside it")
    return file


def tokenizer_of(index: Path) -> Path | None:
    """The `tokenizer.json` that the tokens of an index were made with: NAME.tokenizer.json or tokenizer.json."""
    beside = (index.with_suffix(f".{TOKENIZER}"), index.with_name(TOKENIZER))
    return next((file for file in beside if file.is_file()), None)


def read_documents_of(index: Path) -> Iterator[np.ndarray]:
    """The tokens of each document [t], in order. Raises InputError for an index that is damaged or does not fit."""
    data = index.read_bytes()
    try:
        if data[:9] != MAGIC:
            raise ValueError("it does not begin with MMIDIDX")
        version, kind, sequences, ends = struct.unpack_from("<QBQQ", data, 9)
        if version != 1 or kind not in KINDS:
            raise ValueError(f"version {version}, numbers of the kind {kind}")
        place = 9 + struct.calcsize("<QBQQ")
        sizes = np.frombuffer(data, "<i4", sequences, place).astype(np.int64)
        starts = np.frombuffer(data, "<i8", sequences, place + 4 * sequences)
        edges = np.frombuffer(data, "<i8", ends, place + 12 * sequences)
        stream = np.memmap(bin_of(index), KINDS[kind], "r") if sequences else np.zeros(0)
        first = starts // np.dtype(KINDS[kind]).itemsize
        if len(edges) < 1 or edges[0] != 0 or edges[-1] != sequences or (np.diff(edges) < 0).any():
            raise ValueError("its documents are not in order")
        if sequences and ((sizes < 0).any() or (first < 0).any() or (first + sizes > len(stream)).any()):
            raise ValueError(f"it speaks of more than the {len(stream):,} tokens of {bin_of(index).name}")
    except InputError:
        raise
    except (ValueError, struct.error) as error:
        raise InputError(f"{index} is no index of a Megatron data set ({error}); copy it again") from None
    for begin, end in pairwise(edges.tolist()):
        parts = [stream[first[row] : first[row] + sizes[row]] for row in range(begin, end)]
        yield np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
