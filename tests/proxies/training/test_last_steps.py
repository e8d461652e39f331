"""What a training is measured at besides its end: which steps, that it changes nothing, kills, stacks, workers."""

import pickle

import numpy as np
import pytest

from tests.attribution.cases import digits as digit_examples
from tests.proxies.conftest import write_text
from tests.proxies.training.test_curves import Stop, StopAt
from thresher.errors import InputError
from thresher.proxies import ModelSettings, Order, TrainConfig, Trainer, Trial, evaluate, model_spec, train
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.training.stacked import Member, train_stack
from thresher.proxies.trials import run_trials
from thresher.workspace import Workspace

CONFIG = TrainConfig.for_language(batch_size=16, steps=20, learning_rate=3e-3, precision="float32")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return {"held": write_text(tmp_path_factory.mktemp("last") / "held-out", 23)}


def test_the_steps_are_spread_evenly_over_the_last_tenth_where_it_has_them():
    assert LastSteps({}, 3).steps(200) == [180, 190]
    assert LastSteps({}, 2).steps(200) == [180]
    assert LastSteps({}, 5).steps(20) == [16, 17, 18, 19]
    assert LastSteps({}, 4).steps(4) == [1, 2, 3]
    with pytest.raises(InputError, match="average=5 of a training of 4 steps; pass at most that many"):
        LastSteps({}, 5).steps(4)
    assert LastSteps.of({}, 1) is None
    with pytest.raises(InputError, match="average=0"):
        LastSteps.of({}, 0)


def test_the_means_are_those_of_the_model_at_that_step_and_the_weights_stay(text, tasks, tmp_path):
    options = {"seed": 1, "indices": np.arange(200), "device": "cpu"}
    spec = model_spec("60k", text)
    plain = train(spec, text, out=tmp_path / "plain", config=CONFIG, **options)
    made = train(spec, text, out=tmp_path / "made", config=CONFIG, last=LastSteps(tasks, 2), **options)
    assert made.content_hash == plain.content_hash and "last_steps" not in plain.facts
    found = made.facts["last_steps"]
    assert found["steps"] == [18]
    order = Order(text, np.arange(200), None, CONFIG, seed=1)
    trainer = Trainer(spec, text, order, CONFIG, seed=1, weights=None, device="cpu")
    for _ in range(18):
        trainer.take_step()
    expected = evaluate(trainer.state.model, tasks["held"], device="cpu")
    assert found["tasks"]["held"] == {
        "loss": [pytest.approx(expected["loss"].mean(), rel=1e-6)],
        "correct": [pytest.approx(expected["correct"].mean(), rel=1e-6)],
        "accuracy": None,
        "accuracy_sum": None,
        "bits_per_byte": None,
    }


def test_a_killed_training_goes_on_with_its_means(text, tasks, tmp_path):
    options = {"config": CONFIG, "seed": 1, "last": LastSteps(tasks, 3), "device": "cpu"}
    spec = model_spec("60k", text)
    whole = train(spec, text, out=tmp_path / "whole", **options)
    with pytest.raises(Stop):
        train(spec, text, out=tmp_path / "cut", progress=StopAt(19), checkpoint_every_seconds=0.0, **options)
    again = train(spec, text, out=tmp_path / "cut", **options)
    assert again.facts["last_steps"] == whole.facts["last_steps"] and again.content_hash == whole.content_hash


def test_a_stack_measures_every_member_as_training_it_alone_does(tmp_path):
    pool, held = (
        digit_examples(tmp_path / name, part) for name, part in (("p", slice(0, 120)), ("h", slice(300, 360)))
    )
    spec, last = model_spec("mlp-8x1", pool), LastSteps({"held": held}, 3)
    config = TrainConfig.for_vision(batch_size=16, epochs=3.0, learning_rate=0.05)
    rng = np.random.default_rng(0)
    members = [Member(tmp_path / str(seed), seed, np.sort(rng.choice(120, 60, replace=False))) for seed in range(2)]
    together = train_stack(spec, pool, members, config=config, last=last, device="cpu")
    for member, made in zip(members, together, strict=True):
        options = {"config": config, "seed": member.seed, "indices": member.indices, "device": "cpu"}
        alone = train(spec, pool, out=tmp_path / f"alone-{member.seed}", last=last, **options)
        assert made.meta["config"] == alone.meta["config"]
        found, expected = (one.facts["last_steps"] for one in (made, alone))
        assert found["steps"] == expected["steps"]
        np.testing.assert_allclose(found["tasks"]["held"]["loss"], expected["tasks"]["held"]["loss"], atol=1e-4)


def test_jobs_measure_wherever_they_run_and_other_test_sets_are_another_model(text, tasks, tmp_path, monkeypatch):
    def elsewhere(work, jobs, **options):
        return [(at, work(pickle.loads(pickle.dumps(job)))) for at, job in enumerate(jobs)]

    monkeypatch.setattr("thresher.proxies.trials.run_jobs", elsewhere)
    settings, workspace = ModelSettings(size="60k", batch_size=16), Workspace(tmp_path, "cpu")
    trials = [Trial("all", repeat, repeat, np.arange(160)) for repeat in range(2)]
    run = {"label": "runs", "workers": 1, "workspace": workspace}
    first, second = run_trials(text, settings, trials, tasks, average=2, **run)
    found = first.model.facts["last_steps"]
    assert found["steps"] == [round(0.9 * first.model.facts["num_steps"])] and first.model.meta["inputs"]
    assert found["tasks"]["held"]["loss"][0] != second.model.facts["last_steps"]["tasks"]["held"]["loss"][0]
    (other,) = run_trials(text, settings, trials[:1], {"other": tasks["held"]}, average=2, **run)
    (plain,) = run_trials(text, settings, trials[:1], tasks, **run)
    assert len({result.model.path for result in (first, other, plain)}) == 3
    assert len({result.model.content_hash for result in (first, other, plain)}) == 1
    assert "last_steps" not in plain.model.facts
    assert other.model.facts["last_steps"]["tasks"]["other"] == found["tasks"]["held"]
