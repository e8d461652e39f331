"""A model's training taken again: it ends as the model, and its derivative is that of retrainings."""

import logging
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.proxies.conftest import write_digits, write_text
from thresher.attribution.unrolling.scores import Unrolling, score_by_unrolling
from thresher.errors import InputError
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models import completep
from thresher.proxies.models.spec import model_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.single import train
from thresher.studies.scoring.replay import replay_of

LANGUAGE = TrainConfig.for_language(
    batch_size=8, epochs=2.0, precision="float32", eps_root=1e-6, learning_rate=1e-3, accumulate=2
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("pool") / "pool", 24)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("target") / "target", 5)


@pytest.fixture(scope="module")
def model(pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    return train(model_spec("60k", pool), pool, out=folder, config=LANGUAGE, seed=3, device="cpu")


def scored(model, pool, target, out, **options):
    replays = [(model.content_hash, lambda: replay_of(model.path, pool, device="cpu"))]
    artifact = score_by_unrolling(replays, pool, {"goal": target}, out=out, options=Unrolling(**options))
    return artifact, pq.read_table(artifact.file("scores.parquet"))["goal"].to_numpy()


def test_it_ends_as_the_model_bit_for_bit(model, pool):
    replay = replay_of(model.path, pool, device="cpu")
    replay.run()
    assert replay.difference() == 0.0


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_model_is_replayed_at_the_rate_it_was_trained_at_whatever_the_default_is_now(
    pool, tmp_path, monkeypatch, is_recorded
):
    spec, config = model_spec("60k", pool), replace(LANGUAGE, learning_rate=None)
    if not is_recorded:  # as before the ladder's rate stood in the request
        monkeypatch.setattr(TrainConfig, "settled", lambda self, *of: self)
    model = train(spec, pool, out=tmp_path / "model", config=config, seed=3, device="cpu")
    asked = model.meta["config"]["training"]["learning_rate"]
    assert asked == (config.peak_rate(spec) if is_recorded else None)
    monkeypatch.setattr(completep, "LEARNING_RATE", completep.LEARNING_RATE / 2)
    replay = replay_of(model.path, pool, device="cpu")
    replay.run()
    assert replay.difference() == 0.0


def test_scores_are_what_retraining_with_other_weights_does(model, pool, target, tmp_path):
    artifact, scores = scored(model, pool, target, tmp_path / "scores")

    def loss(i, weight):
        replay = replay_of(model.path, pool, device="cpu")
        weights = replay.weights
        weights[i] = weight
        replay.weights = weights
        replay.run()
        return evaluate(replay.model.eval(), target, device="cpu")["loss"].mean()

    some = [int(np.argmax(scores)), int(np.argmin(scores))]
    found = [(loss(i, 0.95) - loss(i, 1.05)) / 0.1 for i in some]
    np.testing.assert_allclose(found, scores[some], rtol=0.02)
    (facts,) = artifact.facts["replays"]
    assert facts["difference"] == 0.0 and facts["metasmoothness"] > 0.9
    assert facts["window"] == facts["num_steps"] == 6


def test_the_same_random_numbers_are_drawn_backwards(pool, target, tmp_path):
    spec = model_spec("60k", pool)
    spec["config"] |= {"resid_pdrop": 0.1, "embd_pdrop": 0.1}
    model = train(spec, pool, out=tmp_path / "model", config=LANGUAGE, seed=3, device="cpu")
    _, scores = scored(model, pool, target, tmp_path / "scores", check_smoothness=False)
    found, i = [], int(np.argmax(scores))
    for weight in (0.95, 1.05):
        replay = replay_of(model.path, pool, device="cpu")
        weights = replay.weights
        weights[i] = weight
        replay.weights = weights
        replay.run()
        found.append(evaluate(replay.model.eval(), target, device="cpu")["loss"].mean())
    assert (found[0] - found[1]) / 0.1 == pytest.approx(scores[i], rel=0.03)


def test_a_margin_is_upwards_and_a_loss_downwards(model, pool, target, tmp_path):
    quick = {"check_smoothness": False, "method": "adamw-influence"}
    _, by_loss = scored(model, pool, target, tmp_path / "loss", **quick)
    _, by_margin = scored(model, pool, target, tmp_path / "margin", output="margin", **quick)
    assert np.corrcoef(by_loss, by_margin)[0, 1] > 0.8


def test_a_part_of_the_pool_and_sgd_and_a_model_trained_further(tmp_path):
    digits = write_digits(tmp_path / "digits")
    some, rest = np.arange(0, 300), np.arange(1000, 1060)
    vision = TrainConfig.for_vision(batch_size=64, steps=6, learning_rate=0.1)
    first = train(
        model_spec("mlp-16x1", digits),
        digits,
        out=tmp_path / "first",
        config=vision,
        seed=0,
        indices=some,
        device="cpu",
    )
    again = model_spec(str(first.path), digits)
    config = replace(vision, batch_size=20, momentum=0.5, weight_decay=0.0)
    second = train(again, digits, out=tmp_path / "second", config=config, seed=0, indices=rest, device="cpu")
    with pytest.raises(InputError, match="trained on a part of the pool"):
        replay_of(second.path, digits, device="cpu")
    replays = [(second.content_hash, lambda: replay_of(second.path, digits, indices=rest, device="cpu"))]
    artifact = score_by_unrolling(replays, digits, {"goal": digits}, out=tmp_path / "scores")
    scores = pq.read_table(artifact.file("scores.parquet"))["goal"].to_numpy()
    assert set(np.flatnonzero(scores)) <= set(rest.tolist()) and np.count_nonzero(scores) > 50


def test_what_is_not_the_training_is_refused(model, pool, target, tmp_path):
    with pytest.raises(InputError, match="not trained on this pool"):
        replay_of(model.path, target, device="cpu")
    weights = np.ones(len(pool))
    weighted = train(
        model_spec("60k", pool), pool, out=tmp_path / "weighted", config=LANGUAGE, seed=3, weights=weights, device="cpu"
    )
    with pytest.raises(InputError, match="with weights on its examples"):
        replay_of(weighted.path, pool, device="cpu")
    replay = replay_of(model.path, pool, device="cpu")
    replay.run()
    with torch.no_grad():
        next(replay.model.parameters()).add_(0.01)
    with pytest.raises(InputError, match="away from it"):
        replay.difference()


def test_batch_norms_are_refused(tmp_path):
    digits = write_digits(tmp_path / "digits")
    config = TrainConfig.for_vision(batch_size=64, steps=2, precision="float32")
    model = train(model_spec("rn-1/16", digits), digits, out=tmp_path / "model", config=config, seed=0, device="cpu")
    with pytest.raises(InputError, match="batch norms"):
        replay_of(model.path, digits, device="cpu")


def test_low_smoothness_is_said_with_what_to_do(model, pool, target, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("thresher.attribution.unrolling.scores.smoothness_of", lambda *_, **__: 0.1)
    with caplog.at_level(logging.WARNING):
        scored(model, pool, target, tmp_path / "scores", window=2)
    assert "metasmoothness is 0.10" in caplog.text and "eps_root" in caplog.text


def test_a_killed_run_goes_on_with_the_states_it_kept(model, pool, target, tmp_path, monkeypatch):
    _, whole = scored(model, pool, target, tmp_path / "whole", check_smoothness=False)
    taken, advance = [], type(replay_of(model.path, pool, device="cpu")).advance

    def until(self):
        if len(taken) == 8:  # six forward, then the sweep's first ones again
            raise KeyboardInterrupt
        taken.append(self.step)
        return advance(self)

    monkeypatch.setattr("thresher.studies.scoring.replay.TrainingReplay.advance", until)
    with pytest.raises(KeyboardInterrupt):
        scored(model, pool, target, tmp_path / "killed", check_smoothness=False)
    monkeypatch.setattr(
        "thresher.studies.scoring.replay.TrainingReplay.advance",
        lambda self: (taken.append(self.step), advance(self))[1],
    )
    _, again = scored(model, pool, target, tmp_path / "killed", check_smoothness=False)
    assert len(taken) == 8 + 6  # the steps of the sweep alone
    np.testing.assert_array_equal(again, whole)


def test_options_that_are_unknown_are_refused():
    for wrong in ({"method": "x"}, {"output": "accuracy"}, {"curvature": "x"}):
        with pytest.raises(InputError, match="is unknown"):
            Unrolling(**wrong)
    with pytest.raises(InputError, match="rows=0"):
        Unrolling(rows=0)
