"""Models of one and two tokens, counted on a pool: what a language model has to beat before it has learned much."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from thresher.data.examples import TokenExamples
from thresher.seeds import numpy_rng

MOST = 5_000_000
"""Tokens that are counted; of more, whole documents at random."""


class Bigram(nn.Module):
    """p(b | a) = (c(a, b) + T(a) p(b)) / (c(a) + T(a)), with T(a) the tokens that ever followed a (Witten, Bell 1991).

    p(b) = (c(b) + 1) / (N + V). Without pairs it is the model of single tokens.
    """

    def __init__(self, counts: Int[np.ndarray, "v"], pairs: csr_matrix | None) -> None:
        super().__init__()
        unigram = np.log((counts + 1.0) / (counts.sum() + len(counts)))
        self.unigram = nn.Parameter(torch.from_numpy(unigram).float(), requires_grad=False)
        self._pairs = pairs

    def forward(self, input_ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
        """The log-probability of each next token."""
        if self._pairs is None:
            return self.unigram.expand(*input_ids.shape, -1)
        rows = self._pairs[input_ids.flatten().cpu().numpy()]
        followed = torch.from_numpy(np.diff(rows.indptr).astype(np.float32))[:, None].to(self.unigram)
        counts = torch.from_numpy(rows.toarray()).to(self.unigram)
        total = counts.sum(dim=1, keepdim=True)
        # A token that was never seen before another: nothing but the frequencies.
        lent = torch.where(followed > 0, followed, 1.0)
        return ((counts + lent * self.unigram.exp()) / (total + lent)).log().view(*input_ids.shape, -1)


def ngram_models(pool: TokenExamples, *, seed: int = 0) -> dict[str, Bigram]:
    """The models `unigram` and `bigram` of a pool, counted inside of its documents."""
    order = numpy_rng(seed, "ngrams").permutation(len(pool))
    lengths = np.asarray(pool.lengths())
    members = order[: int(np.searchsorted(np.cumsum(lengths[order]), MOST, side="left")) + 1]
    spans = [(int(pool.offsets[member]), int(lengths[member])) for member in members.tolist()]
    tokens = np.concatenate([np.asarray(pool.stream[start : start + count], np.int64) for start, count in spans])
    vocab_size, ends = pool.vocab_size, np.cumsum([count for _, count in spans])[:-1] - 1
    inside = np.ones(max(0, len(tokens) - 1), bool)
    inside[ends] = False
    before, after = tokens[:-1][inside], tokens[1:][inside]
    ones = np.ones(len(before), np.float32)
    pairs = csr_matrix((ones, (before, after)), shape=(vocab_size, vocab_size))
    pairs.sum_duplicates()
    counts = np.bincount(tokens, minlength=vocab_size)
    return {"unigram": Bigram(counts, None), "bigram": Bigram(counts, pairs)}
