"""The sentence about a reference that has learned little: when it is said, and by which of the two tiny models."""

import pytest

from tests.proxies.conftest import write_text
from thresher.studies.experiments.learned import little_learned, ngram_losses, on_random_data

NGRAMS = {"a": {"unigram": 5.0, "bigram": 4.0}, "b": {"unigram": 7.0, "bigram": 5.0}}


def runs(a, b):
    rows = [{"arm": "random", "task": "a", "loss": a}, {"arm": "random", "task": "b", "loss": b}]
    return [*rows, {"arm": "dsdm", "task": "a", "loss": 0.1}, {"arm": "random", "task": "off", "loss": 99.0}]


@pytest.mark.parametrize(
    ("losses", "said"),
    [((5.5, 6.5), "counts single tokens in the pool 6.00"), ((4.5, 4.5), "pairs of tokens in the pool 4.50")],
)
def test_it_is_said_where_the_mean_loss_on_random_data_is_not_below(losses, said):
    sentence = little_learned(on_random_data(runs(*losses)), NGRAMS)
    assert said in sentence and f"on random data its held-out loss is {sum(losses) / 2:.2f} nats a token" in sentence


def test_it_is_not_said_below_the_bigram_model_or_where_nothing_is_known():
    assert little_learned(on_random_data(runs(4.4, 4.5)), NGRAMS) is None
    assert little_learned(on_random_data(runs(9.0, 9.0)), {}) is None
    assert little_learned({"other": 9.0}, NGRAMS) is None


def test_several_runs_on_random_data_count_by_their_mean():
    assert on_random_data([*runs(4.0, 5.0), *runs(6.0, 7.0)]) == {"a": 5.0, "b": 6.0, "off": 99.0}


def test_text_is_counted_and_images_are_not(tmp_path):
    pool, task = write_text(tmp_path / "pool", 90), write_text(tmp_path / "task", 20)
    losses = ngram_losses(pool, {"task": task})
    assert list(losses) == ["task"] and losses["task"]["bigram"] < losses["task"]["unigram"]
