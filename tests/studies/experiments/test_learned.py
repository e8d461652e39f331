"""The sentence about a reference that has learned little: when it is said, and by which of the two tiny models."""

import pytest

from tests.proxies.conftest import write_text
from thresher.studies.experiments.learned import little_learned, ngram_losses

NGRAMS = {"a": {"unigram": 5.0, "bigram": 4.0}, "b": {"unigram": 7.0, "bigram": 5.0}}


def runs(a, b):
    rows = [{"arm": "random", "task": "a", "loss": a}, {"arm": "random", "task": "b", "loss": b}]
    return [*rows, {"arm": "dsdm", "task": "a", "loss": 0.1}, {"arm": "random", "task": "off", "loss": 99.0}]


@pytest.mark.parametrize(
    ("losses", "said"),
    [((5.5, 6.5), "counts single tokens in the pool 6.00"), ((4.5, 4.5), "pairs of tokens in the pool 4.50")],
)
def test_it_is_said_where_the_mean_loss_on_random_data_is_not_below(losses, said):
    assert said in little_learned(runs(*losses), NGRAMS)
    assert f"{sum(losses) / 2:.2f} nats a token" in little_learned(runs(*losses), NGRAMS)


def test_it_is_not_said_below_the_bigram_model_or_where_nothing_is_known():
    assert little_learned(runs(4.4, 4.5), NGRAMS) is None
    assert little_learned(runs(9.0, 9.0), {}) is None


def test_text_is_counted_and_images_are_not(tmp_path):
    pool, task = write_text(tmp_path / "pool", 90), write_text(tmp_path / "task", 20)
    losses = ngram_losses(pool, {"task": task})
    assert list(losses) == ["task"] and losses["task"]["bigram"] < losses["task"]["unigram"]
