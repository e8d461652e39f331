"""A selection in the formats that training frameworks stream: MDS shards of documents, Megatron's files of tokens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thresher.artifacts import Draft
from thresher.data.examples import TokenExamples
from thresher.data.mds import INDEX, MdsShards, mds_encodings
from thresher.data.megatron import TOKENIZER, token_kind, write_bin, write_idx
from thresher.selection.selection import Selection

Blocks = Iterator[Sequence[Mapping[str, Any]]]


def write_mds(draft: Draft, rows: Callable[[], Blocks], rows_per_shard: int) -> dict[str, Any]:
    """MDS shards of the rows, and their index; the facts of them. `rows` gives all of them, twice.

    A column has the encoding that changes none of its values, JSON where no other one holds them all.
    """
    encodings = mds_encodings(rows())
    shards = MdsShards(encodings, rows_per_shard)

    def write(shard: tuple[str, bytes] | None) -> None:
        if shard is not None:
            with draft.file(shard[0]) as file:
                file.write_bytes(shard[1])

    for block in rows():
        for row in block:
            write(shards.add(row))
    write(shards.rest())
    with draft.file(INDEX) as file:
        file.write_text(shards.index(), encoding="utf-8")
    return {"json_columns": [name for name, kind in encodings.items() if kind == "json"]}


def write_megatron(draft: Draft, selection: Selection, pool: TokenExamples) -> dict[str, Any]:
    """`kept.bin` and `kept.idx`, the pool's own tokens of each kept example with its end token, and their tokenizer."""
    kind, end = token_kind(pool.vocab_size), pool.layout.end_token
    tokens, positions = pool.tokens, selection.positions.tolist()

    def documents() -> Iterator[np.ndarray]:
        for position in positions:
            own = tokens[position]
            # A packed document ends in its end token, a prompt with its continuation in the continuation.
            yield own if pool.layout.packed else np.append(own, np.uint32(end))

    lengths: np.ndarray = np.zeros(0)
    with draft.file("kept.bin") as file:
        lengths = write_bin(file, documents(), kind)
    with draft.file("kept.idx") as file:
        write_idx(file, lengths, kind)
    with draft.file(TOKENIZER) as file:
        Path(file).write_bytes(pool.artifact.file(TOKENIZER).read_bytes())
    return {"num_tokens": int(lengths.sum()), "vocab_size": pool.vocab_size, "end_token": end}
