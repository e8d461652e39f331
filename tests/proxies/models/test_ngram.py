"""Models of one and two tokens against their formulas, counted by hand."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from thresher.proxies.evaluation import evaluate
from thresher.proxies.models import ngram
from thresher.proxies.models.ngram import ngram_models


def documents(pool):
    return [pool.stream[pool.offsets[i] : pool.offsets[i + 1]].tolist() for i in range(len(pool))]


def test_the_probabilities_are_those_of_the_formula_counted_by_hand(text):
    models, v = ngram_models(text), text.vocab_size
    counts = Counter(token for document in documents(text) for token in document)
    pairs = Counter(pair for document in documents(text) for pair in itertools.pairwise(document))
    total = sum(counts.values())
    p = np.array([(counts[b] + 1) / (total + v) for b in range(v)])
    ids = torch.tensor([[101, 32, 130], [10, 95, 115]])
    ours = models["bigram"](input_ids=ids).exp().numpy()
    for place, a in np.ndenumerate(ids.numpy()):
        row = np.array([pairs[a, b] for b in range(v)])
        distinct = max(1, np.count_nonzero(row))
        expected = (row + distinct * p) / (row.sum() + distinct)
        np.testing.assert_allclose(ours[place], expected, rtol=1e-4)
    np.testing.assert_allclose(models["unigram"](input_ids=ids).exp().numpy()[1, 2], p, rtol=1e-5)
    np.testing.assert_allclose(ours.sum(axis=-1), 1.0, rtol=1e-5)


def test_pairs_tell_more_than_frequencies_and_batches_do_not_matter(text):
    models = ngram_models(text)
    losses = {kind: evaluate(model, text)["loss"] for kind, model in models.items()}
    assert losses["bigram"].mean() < losses["unigram"].mean() - 0.3
    small = evaluate(models["bigram"], text, batch_size=7)["loss"]
    np.testing.assert_allclose(small, losses["bigram"], rtol=1e-5)


def test_of_a_large_pool_whole_documents_are_counted(text, monkeypatch):
    monkeypatch.setattr(ngram, "MOST", 500)
    few, again = ngram_models(text, seed=1)["bigram"], ngram_models(text, seed=1)["bigram"]
    assert 500 - 24 <= few._pairs.sum() <= 500 + 24
    assert torch.equal(few.unigram, again.unigram)
    ngram_models(text, seed=2)
    assert float(few.unigram.exp().sum()) == pytest.approx(1.0, abs=1e-5)
