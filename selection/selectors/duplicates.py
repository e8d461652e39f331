"""Filters that drop copies: examples with the same text, or nearly the same text by MinHash."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from unicodedata import normalize
from zlib import crc32

import numpy as np
from jaxtyping import Int, UInt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ranking import Filtered
from thresher.words import words_of

CAUGHT = 0.99
"""Of pairs exactly at the threshold, the share that the bands are chosen to bring together."""
# Shingles hashed at once: 16 MB of uint64, so that 128 permutations of them stay in the cache's reach.
BLOCK = 2**21


def exact(evidence: Evidence, alive: Int[np.ndarray, "m"]) -> Filtered:
    """Drop exact copies: of all examples with the same text, the one with the smallest id stays.

    Texts are the same if they differ only in case, in white space, or in how accents are encoded (NFC). Scores count
    the examples that share the text.
    """
    texts, first, groups = evidence["texts"], {}, np.full(len(evidence), -1)
    for position in evidence.by_id(alive).tolist():
        normalised = " ".join(normalize("NFC", texts[position]).casefold().split()).encode("utf-8", "surrogatepass")
        groups[position] = first.setdefault(blake2b(normalised, digest_size=16).digest(), position)
    keep = np.zeros(len(evidence), dtype=bool)
    keep[list(first.values())] = True
    counts = np.bincount(groups[alive], minlength=len(evidence))
    return Filtered(np.where(groups >= 0, counts[groups], np.nan), keep)


def minhash(
    evidence: Evidence,
    alive: Int[np.ndarray, "m"],
    *,
    threshold: float = 0.8,
    ngram: int = 5,
    permutations: int = 128,
) -> Filtered:
    """Drop near copies: of examples with a Jaccard similarity from `threshold` on, the one with the smallest id stays.

    The similarity is that of the sets of runs of `ngram` words, in any script (`thresher.words`). Bands of MinHash
    signatures (Broder 1997) propose pairs, and each pair is verified exactly, so no example is dropped for a collision
    of hashes. The bands miss up to 1 % of the pairs at the threshold and fewer of more similar ones. Links are
    transitive. Scores are the largest similarity found to a linked example, NaN for examples without one. Raises
    InputError for a threshold outside (0, 1] and counts below 1.
    """
    if not 0 < threshold <= 1:
        raise InputError(
            f"threshold={threshold} is outside (0, 1]; pass the Jaccard similarity of duplicates, like 0.8"
        )
    if ngram < 1:
        raise InputError(f"ngram={ngram} is too small; pass the number of words in a shingle, 1 or more (5 is usual)")
    if permutations < 1:
        raise InputError(
            f"permutations={permutations} is too small; pass the length of a signature, 1 or more (128 is usual)"
        )
    order = evidence.by_id(alive)
    texts = evidence["texts"]
    sets = [shingles(texts[position], ngram) for position in order.tolist()]
    signatures = signatures_of(sets, permutations, evidence.rng("minhash"))
    similar, largest = [], np.full(len(order), np.nan)
    for a, b in sorted(_candidates(signatures, rows_in_band(threshold, permutations))):
        shared = len(np.intersect1d(sets[a], sets[b], assume_unique=True))
        jaccard = shared / (len(sets[a]) + len(sets[b]) - shared)
        if jaccard >= threshold:
            similar.append((a, b))
            largest[[a, b]] = np.fmax(largest[[a, b]], jaccard)
    pairs = np.array(similar, dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(order), len(order)))
    groups = connected_components(graph, directed=False)[1]
    scores, keep = np.full(len(evidence), np.nan), np.zeros(len(evidence), dtype=bool)
    scores[order] = largest
    keep[order[np.unique(groups, return_index=True)[1]]] = True
    return Filtered(scores, keep)


def shingles(text: str, ngram: int) -> UInt[np.ndarray, "s"]:
    """The set of all runs of `ngram` words, sorted, each as a 64-bit hash; a shorter text is one run."""
    words = words_of(text) or text.split()  # without words, signs tell texts apart
    hashes = np.array([crc32(word.encode("utf-8", "surrogatepass")) for word in words] or [0], dtype=np.uint64)
    width = min(ngram, len(hashes))
    runs = np.zeros(len(hashes) - width + 1, dtype=np.uint64)
    for offset in range(width):
        runs = _mixed(runs * np.uint64(0x9E3779B97F4A7C15) + hashes[offset : offset + len(runs)])
    return np.unique(runs)


def signatures_of(sets: Sequence[np.ndarray], num: int, rng: np.random.Generator) -> UInt[np.ndarray, "m num"]:
    """The smallest hash of each set under `num` random functions x -> high 32 bits of a x + b mod 2^64, with a odd."""
    a, b = (rng.integers(0, 2**64, size=num, dtype=np.uint64) for _ in range(2))
    signatures = np.empty((len(sets), num), dtype=np.uint32)
    for start, stop in _blocks([len(members) for members in sets]):
        flat = np.concatenate(sets[start:stop])
        begins = np.cumsum([0, *(len(members) for members in sets[start : stop - 1])])
        for column in range(num):
            hashed = (flat * (a[column] | np.uint64(1)) + b[column]) >> np.uint64(32)
            signatures[start:stop, column] = np.minimum.reduceat(hashed, begins)
    return signatures


def rows_in_band(threshold: float, permutations: int) -> int:
    """The most rows a band for which a pair at the threshold shares some band with probability CAUGHT or more.

    That probability is 1 - (1 - t^r)^(P/r), with t the threshold, r the rows of a band and P the permutations.
    """
    rows = np.arange(1, permutations + 1)
    caught = 1 - (1 - threshold**rows) ** (permutations // rows)
    return int(rows[caught >= CAUGHT].max(initial=1))


def _candidates(signatures: UInt[np.ndarray, "m num"], rows: int) -> set[tuple[int, int]]:
    """Pairs that agree in a band: neighbours in the list of a bucket, and each with its first."""
    pairs: set[tuple[int, int]] = set()
    for start in range(0, signatures.shape[1] - rows + 1, rows):
        band = np.ascontiguousarray(signatures[:, start : start + rows])
        _, groups = np.unique(band.view([("", band.dtype)] * rows).ravel(), return_inverse=True)
        order = np.argsort(groups, kind="stable")
        same = groups[order][1:] == groups[order][:-1]
        firsts = order[np.maximum.accumulate(np.where(np.r_[True, ~same], np.arange(len(order)), 0))]
        pairs.update(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))
        pairs.update(zip(firsts[1:][same].tolist(), order[1:][same].tolist(), strict=True))
    return pairs


def _mixed(values: UInt[np.ndarray, "s"]) -> UInt[np.ndarray, "s"]:
    """Every bit of the input moves every bit of the output (the end of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of sets with up to BLOCK numbers in all (or a single larger set)."""
    start = total = 0
    for stop, size in enumerate(sizes):
        if total and total + size > BLOCK:
            yield start, stop
            start, total = stop, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
