"""Filters that drop copies: examples with the same text, or nearly the same text by MinHash."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from unicodedata import normalize
from zlib import crc32

import numpy as np
from jaxtyping import Float, Int, UInt
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ranking import Filtered
from thresher.words import words_of

CAUGHT = 0.99
"""Of pairs exactly at the threshold, the share that the bands are chosen to bring together."""
# Pairs verified at once, and how many places apart in a bucket pairs are compared even if they are linked already.
PAIRS, NEAR = 4096, 64
# Shingles hashed at once: 16 MB of uint64, so that 128 permutations of them stay in the cache's reach.
BLOCK = 2**21


def exact(evidence: Evidence, alive: Int[np.ndarray, "m"]) -> Filtered:
    """Drop exact copies: of all examples with the same text, the one with the smallest id stays.

    Texts are the same if they differ only in case, in white space, or in how accents are encoded (NFC). Scores count
    the examples that share the text.
    """
    texts, first, groups = evidence["texts"], {}, np.full(len(evidence), -1)
    for position in evidence.by_id(alive).tolist():
        # Folding takes some letters apart again, such as capitals with two accents.
        folded = normalize("NFC", normalize("NFC", texts[position]).casefold())
        normalised = " ".join(folded.split()).encode("utf-8", "surrogatepass")
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
    signatures (Broder 1997) propose all pairs that share a bucket, and each pair is verified exactly, so no example is
    dropped for a collision of hashes. The bands miss up to 1 % of the pairs at the threshold and fewer of more similar
    ones. Links are transitive. Scores are the largest similarity found to a linked example, NaN for examples without
    one; not every pair of those linked already is looked at where a bucket holds more than NEAR. Raises
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
    sets, copy_of = _distinct([shingles(texts[position], ngram) for position in order.tolist()])
    signatures = signatures_of(sets, permutations, evidence.rng("minhash"))
    groups, largest = np.arange(len(sets)), np.full(len(sets), np.nan)
    compare = _Jaccard(sets)
    for a, b in _candidates(signatures, rows_in_band(threshold, permutations), groups):
        jaccard = compare(a, b, threshold)
        close = jaccard >= threshold
        for ends in (a[close], b[close]):
            np.fmax.at(largest, ends, jaccard[close])
        _join(groups, a[close], b[close])
    scores, keep = np.full(len(evidence), np.nan), np.zeros(len(evidence), dtype=bool)
    scores[order] = np.where(np.bincount(copy_of)[copy_of] > 1, 1.0, largest[copy_of])
    keep[order[np.unique(groups[copy_of], return_index=True)[1]]] = True
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


def _distinct(sets: Sequence[np.ndarray]) -> tuple[list[np.ndarray], Int[np.ndarray, "n"]]:
    """The different sets, in the order of their first, and which of them each is."""
    number: dict[bytes, int] = {}
    distinct, which = [], []
    for members in sets:
        place = number.setdefault(blake2b(members.tobytes(), digest_size=16).digest(), len(distinct))
        if place == len(distinct):
            distinct.append(members)
        which.append(place)
    return distinct, np.array(which, dtype=np.int64)


def _candidates(
    signatures: UInt[np.ndarray, "m num"], rows: int, groups: Int[np.ndarray, "m"]
) -> Iterator[tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"]]]:
    """All pairs i < j that agree in a band, each once, in blocks.

    `groups` is what the caller has linked by then. Who follows an example in a bucket by more than NEAR places is left
    out if the two are linked already, so that a crowd of near copies does not cost the square of its size.
    """
    starts = range(0, signatures.shape[1] - rows + 1, rows)
    buckets = np.empty((len(starts), len(signatures)), dtype=np.int32)
    held: list[np.ndarray] = []
    for band, start in enumerate(starts):
        own = np.ascontiguousarray(signatures[:, start : start + rows])
        buckets[band] = np.unique(own.view([("", own.dtype)] * rows).ravel(), return_inverse=True)[1]
        order = np.argsort(buckets[band], kind="stable")
        sizes = np.bincount(buckets[band])
        begins = np.cumsum(sizes) - sizes
        followers = np.repeat(begins + sizes, sizes) - 1 - np.arange(len(order))
        places, distance = np.arange(len(order)), 1
        while len(places := places[followers[places] >= distance]):
            pairs = np.stack([order[places], order[places + distance]])
            if distance > NEAR:
                pairs = pairs[:, groups[pairs[0]] != groups[pairs[1]]]
            # A pair that agreed in an earlier band was proposed there.
            held.append(pairs[:, ~np.any(buckets[:band, pairs[0]] == buckets[:band, pairs[1]], axis=0)])
            if sum(block.shape[1] for block in held) >= PAIRS or distance == NEAR:
                yield tuple(np.concatenate(held, axis=1))
                held.clear()
            if distance >= NEAR and distance & (distance - 1) == 0:
                own_groups = groups[order]
                linked = np.minimum.reduceat(own_groups, begins) == np.maximum.reduceat(own_groups, begins)
                places = places[~linked[buckets[band, order[places]]]]
            distance += 1
    if held:
        yield tuple(np.concatenate(held, axis=1))


class _Jaccard:
    """The exact similarity of many pairs of sets at once."""

    def __init__(self, sets: Sequence[np.ndarray]):
        self.sizes = np.array([len(members) for members in sets])
        # A column for each possible hash: only those that are there take memory.
        flat = (np.concatenate(sets) >> np.uint64(1)).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(self.sizes)])
        self.rows = csr_matrix((np.ones(len(flat), dtype=np.int8), flat, ends), shape=(len(sets), 2**63 - 1))

    def __call__(self, a: Int[np.ndarray, "p"], b: Int[np.ndarray, "p"], threshold: float) -> Float[np.ndarray, "p"]:
        """The similarity of each pair; 0 where the sizes alone show that it is below the threshold."""
        small, large = np.sort([self.sizes[a], self.sizes[b]], axis=0)
        shared = np.zeros(len(a), dtype=np.int64)
        possible = np.flatnonzero(small >= threshold * large * (1 - 1e-9))
        work = np.cumsum(small[possible] + large[possible]) // BLOCK
        for part in np.split(possible, np.flatnonzero(np.diff(work)) + 1):
            shared[part] = np.diff(self.rows[a[part]].multiply(self.rows[b[part]]).tocsr().indptr)
        return shared / (small + large - shared)


def _join(groups: Int[np.ndarray, "m"], a: Int[np.ndarray, "p"], b: Int[np.ndarray, "p"]) -> None:
    """Make one group, in place, of the groups of each pair."""
    apart = groups[a] != groups[b]
    if apart.any():
        edges = groups[a[apart]], groups[b[apart]]
        graph = coo_matrix((np.ones(apart.sum()), edges), shape=(len(groups), len(groups)))
        groups[:] = connected_components(graph, directed=False)[1][groups]


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
