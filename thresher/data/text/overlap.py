"""Leakage: which pool documents share a run of words with which target examples.

GPT-3's decontamination (Brown et al. 2020, appendix C): text in lower case without punctuation, 13 words in a row.
Unlike there, nothing is spared for being frequent, and a document goes as a whole.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build
from thresher.data.sources.skipped import Skipped
from thresher.data.text.documents import Document
from thresher.data.writers import chunks
from thresher.errors import InputError
from thresher.progress import SILENT, Progress, track
from thresher.seeds import numpy_rng
from thresher.words import RULE, words_of

SHOWN = 5
MOST_PIECES = 16
"""Of a row, whose every two are looked at in either order; of more, those that stand beside each other."""
FILTER_BITS = 24
BLOCK_CHARACTERS = 2**20
SCHEMA = pa.schema([(name, pa.string()) for name in ("document", "target", "example", "words")])


class Hit(NamedTuple):
    """A document and a target example that share `words`, the first such run in the document."""

    document: str
    target: str
    example: str
    words: str


def find_overlap(
    pool: Callable[[], Iterable[Document]],
    targets: Mapping[str, Callable[[], Iterable[Document]]],
    *,
    out: Path,
    ngram: int = 13,
    inputs: Mapping[str, str],
    config: Mapping,
    progress: Progress = SILENT,
) -> Artifact:
    """An artefact of kind `overlap`: `overlap.parquet` (document, target, example, words), a row for each document and
    target that share `ngram` words in a row, with the first example and run of words found.

    Facts: `documents` read, `documents_hit` in all, and for each target its `examples`, how many are `too_short` to
    tell, `examples_hit`, `documents_hit`, and a few `hits`. Memory grows with the targets, not with the pool.
    """
    if ngram < 1:
        raise InputError(f"ngram={ngram} is no run of words; pass 1 or more (13 is usual)")

    def write(draft: Draft) -> Mapping:
        finder = Finder({name: documents() for name, documents in targets.items()}, ngram)
        with draft.file("overlap.parquet") as file, pq.ParquetWriter(file, SCHEMA) as writer:
            hits = finder.hits(track(pool(), "overlap", None, progress))
            for block in chunks(hits, 4096):
                writer.write_table(pa.Table.from_pylist([hit._asdict() for hit in block], schema=SCHEMA))
        return finder.facts()

    return build(out, kind="overlap", config={**config, "ngram": ngram}, seed=0, inputs=inputs, write=write)


def documents_hit(overlap: Artifact) -> dict[str, str]:
    """The ids of the documents that share words with a target, and the name of (one) such target."""
    table = pq.read_table(overlap.file("overlap.parquet"), columns=["document", "target"])
    return dict(zip(table["document"].to_pylist(), table["target"].to_pylist(), strict=True))


def without(documents: Iterable[Document], hit: Mapping[str, str], skipped: Skipped) -> Iterator[Document]:
    """The documents that are not in `hit`, as `documents_hit` gives it; the others are listed in `skipped`."""
    for document in documents:
        if document.id in hit:
            skipped.add(f"overlaps target {hit[document.id]}", id=document.id)
        else:
            yield document


class Finder:
    """The targets' runs of words, hashed; finds them in documents.

    A word that no target has gets number 0, each other a number of its own, so that a run is compared by a 64-bit hash
    of numbers: sum_j random[number_j] * factor_j mod 2^64 (a run with a 0 in it cannot match, but by that hash).
    """

    def __init__(self, targets: Mapping[str, Iterable[Document]], ngram: int) -> None:
        self.ngram = ngram
        self._numbers: dict[str, int] = {}
        self._names, self._examples, self._too_short = list(targets), [], []
        self.num_documents = self.num_hit = 0
        runs: list[list[np.ndarray]] = []
        for documents in targets.values():
            texts = [(one.id, list(_stretches(one, ngram))) for one in documents]
            self._examples.append([id for id, _ in texts])
            self._too_short.append(sum(max(map(len, own)) < ngram for _, own in texts))
            for word in (word for _, own in texts for words in own for word in words):
                self._numbers.setdefault(word, len(self._numbers) + 1)
            runs += [[self._numbered(words) for words in own] for _, own in texts]
        draw = numpy_rng(0, "overlap", ngram)
        self._random = draw.integers(0, 2**64, len(self._numbers) + 1, dtype=np.uint64)
        self._factors = draw.integers(0, 2**64, ngram, dtype=np.uint64) | np.uint64(1)
        hashes = [np.concatenate([self._hashes(run) for run in own]) for own in runs]
        owners = np.repeat(np.arange(len(runs)), [len(own) for own in hashes])
        found = np.concatenate([np.empty(0, np.uint64), *hashes])
        order = np.argsort(found, kind="stable")
        self._hashed, self._owners = found[order], owners[order]
        self._ends = np.cumsum([0, *map(len, self._examples)])
        self._filter = np.zeros(2**FILTER_BITS, bool)
        self._filter[self._hashed >> np.uint64(64 - FILTER_BITS)] = True
        self._example_hit = np.zeros(len(runs), bool)
        self._documents_hit = [0] * len(self._names)
        self._shown: list[list[Hit]] = [[] for _ in self._names]

    def hits(self, documents: Iterable[Document]) -> Iterator[Hit]:
        """A hit for each document and target that share a run of words."""
        for block in _blocks(documents):
            self.num_documents += len(block)
            words = [words_of(f"{one.prompt} {one.text}" if one.prompt else one.text) for one in block]
            # One array for the block, documents parted by a word that no target has.
            hashes = self._hashes(np.concatenate([part for own in words for part in (self._numbered(own), [0])]))
            places = np.flatnonzero(self._filter[hashes >> np.uint64(64 - FILTER_BITS)])
            low = np.searchsorted(self._hashed, hashes[places])
            there = np.flatnonzero(low < len(self._hashed))
            there = there[self._hashed[low[there]] == hashes[places[there]]]
            starts = np.cumsum([0, *(len(own) + 1 for own in words)])
            rows = np.searchsorted(starts, places[there], side="right") - 1
            for row in dict.fromkeys(rows.tolist()):
                own = there[rows == row]
                yield from self._of_document(block[row].id, words[row], hashes, places[own], int(starts[row]))

    def _of_document(
        self, id: str, words: Sequence[str], hashes: np.ndarray, places: np.ndarray, start: int
    ) -> Iterator[Hit]:
        self.num_hit += 1
        seen: set[int] = set()
        low = np.searchsorted(self._hashed, hashes[places], side="left")
        high = np.searchsorted(self._hashed, hashes[places], side="right")
        for place, first, end in zip(places.tolist(), low.tolist(), high.tolist(), strict=True):
            owners = self._owners[first:end]
            self._example_hit[owners] = True
            targets, at = np.unique(np.searchsorted(self._ends, owners, side="right") - 1, return_index=True)
            for target, owner in zip(targets.tolist(), owners[at].tolist(), strict=True):
                if target in seen:
                    continue
                seen.add(target)
                shared = " ".join(words[place - start : place - start + self.ngram])
                hit = Hit(id, self._names[target], self._examples[target][owner - self._ends[target]], shared)
                self._documents_hit[target] += 1
                if len(self._shown[target]) < SHOWN:
                    self._shown[target].append(hit)
                yield hit

    def facts(self) -> dict:
        """What `find_overlap` records."""
        targets = {}
        for number, (name, (start, end)) in enumerate(zip(self._names, pairwise(self._ends.tolist()), strict=True)):
            targets[name] = {
                "examples": end - start,
                "too_short": self._too_short[number],
                "examples_hit": int(self._example_hit[start:end].sum()),
                "documents_hit": self._documents_hit[number],
                "hits": [hit._asdict() for hit in self._shown[number]],
            }
        return {
            "documents": self.num_documents,
            "documents_hit": self.num_hit,
            "words": RULE,
            "targets": targets,
        }

    def _numbered(self, words: Sequence[str]) -> np.ndarray:
        numbers = self._numbers
        return np.fromiter((numbers.get(word, 0) for word in words), np.int64, len(words))

    def _hashes(self, numbers: np.ndarray) -> np.ndarray:
        """Of each run of `ngram` numbers, uint64 [max(len - ngram + 1, 0)]."""
        count = max(len(numbers) - self.ngram + 1, 0)
        values, total = self._random[numbers.astype(np.int64)], np.zeros(count, np.uint64)
        for offset, factor in enumerate(self._factors):
            total += values[offset : offset + count] * factor
        return total


def _stretches(example: Document, ngram: int) -> Iterator[Sequence[str]]:
    """Words in a row of a target's example, in which its runs are looked for.

    Of a row of several texts a document may have any two one after the other, in whatever order its columns stand.
    """
    yield words_of(f"{example.prompt} {example.text}")
    if ngram > 1 and 1 < len(example.pieces) <= MOST_PIECES:
        for before, after in permutations(map(words_of, example.pieces), 2):
            yield [*before[1 - ngram :], *after[: ngram - 1]]


def _blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document.text)
        if size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block
