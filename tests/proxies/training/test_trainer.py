"""Training: what it ends as, what it may be killed at, and what it refuses."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.progress import Silent
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.spec import build_model, model_spec
from thresher.proxies.models.weights import open_model
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.head import head_loss, language_loss
from thresher.proxies.training.objective import training_loss
from thresher.proxies.training.order import Order
from thresher.proxies.training.single import train

LANGUAGE = TrainConfig.for_language(batch_size=16, epochs=1.0, precision="float32")
VISION = TrainConfig.for_vision(batch_size=128, epochs=2.0, precision="float32")


def weights_of(artifact):
    return artifact.file("model.safetensors").read_bytes()


def test_a_language_model_learns(text, tmp_path):
    spec = model_spec("60k", text)
    before = evaluate(build_model(spec, 0), text)["loss"].mean()
    config = replace(LANGUAGE, epochs=6.0, learning_rate=1e-2)
    artifact = train(spec, text, out=tmp_path / "model", config=config, seed=0)
    after = evaluate(open_model(tmp_path / "model"), text)["loss"].mean()
    assert before > 4.5 and after < 3.0
    assert artifact.facts["loss_curve"][0] > 4.5 and artifact.facts["final_train_loss"] < 3.2
    assert artifact.facts["num_tokens_seen"] == 6 * text.lengths().sum()


def test_a_vision_model_learns(digits, tmp_path):
    train(model_spec("rn-1/16", digits), digits, out=tmp_path / "model", config=replace(VISION, epochs=4.0), seed=0)
    assert evaluate(open_model(tmp_path / "model"), digits)["correct"].mean() > 0.85


KILLED = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from tests.proxies.training.test_trainer import dropout_run
dropout_run(Path({data!r}), Path({out!r}), checkpoint_every_seconds=0.0)
"""


def dropout_run(data, out, **options):
    """A run whose every step draws random numbers, long enough to be killed in the middle."""
    from thresher.data.examples import open_examples

    examples = open_examples(data)
    spec = model_spec("60k", examples)
    spec["config"] |= {"resid_pdrop": 0.1, "embd_pdrop": 0.1}
    return train(spec, examples, out=out, config=replace(LANGUAGE, epochs=4.0), seed=2, **options)


def test_a_killed_run_goes_on_bit_for_bit(text, tmp_path):
    whole = dropout_run(text.artifact.path, tmp_path / "whole")
    state = tmp_path / ".broken.partial" / ".state" / "training.safetensors"
    script = KILLED.format(
        here=str(Path(__file__).resolve().parents[3]), data=str(text.artifact.path), out=str(tmp_path / "broken")
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists() and not (tmp_path / "broken").exists()
    assert load_file(state)["losses"].count_nonzero() < whole.facts["num_steps"]
    assert weights_of(dropout_run(text.artifact.path, tmp_path / "broken")) == weights_of(whole)


@pytest.mark.parametrize("name", ["rn-1/64", "mlp-9x1"])
def test_a_vision_run_that_stops_goes_on_bit_for_bit(name, digits, tmp_path):
    class Stop(Exception):
        pass

    class StopAt(Silent):
        def task(self, label, total):
            task = super().task(label, total)
            inner, self.done = task.__enter__(), 0
            outer = self

            class Counting:
                def __enter__(self):
                    def advance(count):
                        inner(count)
                        outer.done += count
                        if outer.done == 5:
                            raise Stop

                    return advance

                def __exit__(self, *exception):
                    return None

            return Counting()

    def run(out, **options):
        return train(model_spec(name, digits), digits, out=out, config=VISION, seed=1, **options)

    whole = run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "broken", progress=StopAt(), checkpoint_every_seconds=0.0)
    assert not (tmp_path / "broken").exists()
    resumed = run(tmp_path / "broken")
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.facts["loss_curve"] == whole.facts["loss_curve"]


def test_the_same_request_makes_the_same_bytes_and_another_seed_others(text, tmp_path):
    spec = model_spec("60k", text)
    runs = [train(spec, text, out=tmp_path / f"{i}", config=LANGUAGE, seed=seed) for i, seed in enumerate((3, 3, 4))]
    assert weights_of(runs[0]) == weights_of(runs[1])
    assert runs[0].content_hash == runs[1].content_hash
    assert weights_of(runs[0]) != weights_of(runs[2])
    assert not train(spec, text, out=tmp_path / "0", config=LANGUAGE, seed=3).built
    with pytest.raises(InputError, match=r"made with seed = 3, this run has 4"):
        train(spec, text, out=tmp_path / "0", config=LANGUAGE, seed=4)
    with pytest.raises(InputError, match=r"made with inputs.indices"):
        train(spec, text, out=tmp_path / "0", config=LANGUAGE, seed=3, indices=np.arange(20))


def test_runs_of_one_seed_start_alike_whatever_the_subset(text, tmp_path):
    # At a learning rate far below float32's resolution of the weights nothing moves: what is saved is the start.
    still = replace(LANGUAGE, learning_rate=1e-30, weight_decay=0.0)
    spec = model_spec("60k", text)
    starts = [
        train(spec, text, out=tmp_path / f"{size}", config=still, seed=3, indices=np.arange(size)) for size in (40, 70)
    ]
    first, second = (load_file(start.file("model.safetensors")) for start in starts)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-25)


def order_of(text, indices, mixture=None, *, seed=0, epochs=1.0, batch_size=16):
    """The order, and the example of each row of its batches."""
    config = TrainConfig(batch_size=batch_size, epochs=epochs)
    order = Order(text, np.asarray(indices), mixture, config, seed=seed)
    return order, [order.batch(step).owners[:, 0] for step in range(order.num_steps)]


def test_an_epoch_sees_every_index_as_often_as_it_occurs(text):
    indices = np.array([5, 9, 9, 200, 31, 9, 77])
    _, batches = order_of(text, indices, epochs=3.0, batch_size=4)
    drawn = np.concatenate(batches)
    assert sorted(drawn) == sorted(np.tile(indices, 3))
    for epoch in np.split(drawn, 3):
        assert sorted(epoch) == sorted(indices)
    assert {len(batch) for batch in batches} <= {3, 4}


def test_subsets_keep_their_relative_order_and_epochs_do_not(text):
    whole = np.concatenate(order_of(text, np.arange(330), epochs=2.0)[1])
    half = np.concatenate(order_of(text, np.arange(0, 330, 2))[1])
    assert [index for index in whole[:330] if index % 2 == 0] == half.tolist()
    assert whole[:330].tolist() != whole[330:].tolist()
    assert np.concatenate(order_of(text, np.arange(0, 330, 2), seed=1)[1]).tolist() != half.tolist()


def test_a_mixture_gives_each_domain_its_share_in_passes_without_replacement(text):
    mixture = {"argparse": 0.1, "json": 0.3, "textwrap": 0.6}
    order, batches = order_of(text, np.arange(330), mixture, epochs=2.0)
    drawn = np.concatenate(batches)
    lengths = text.lengths()[drawn]
    shares = [lengths[text.domains[drawn] == name].sum() / lengths.sum() for name in mixture]
    # Shares of tokens, up to one example a domain.
    np.testing.assert_allclose(shares, list(mixture.values()), atol=2 * text.sequence_length / lengths.sum())
    for name, passes in order.passes().items():
        members = np.flatnonzero(text.domains == name)
        times = np.bincount(drawn, minlength=330)[members]
        assert times.max() - times.min() <= 1
        assert times.mean() == pytest.approx(passes, abs=2 / len(members))
    assert order.passes()["textwrap"] == pytest.approx(12, rel=0.02)


@full_float32()
def test_the_loss_is_linear_in_the_weights_so_that_weight_two_is_an_example_twice(text):
    model = build_model(model_spec("60k", text), 1)
    once, twice = text.batch([1, 2, 3, 4]), text.batch([1, 2, 2, 3, 4])
    weighted = torch.autograd.grad(
        training_loss(model, once, torch.tensor([1.0, 2.0, 1.0, 1.0])), list(model.parameters())
    )
    doubled = torch.autograd.grad(training_loss(model, twice, None), list(model.parameters()))
    for one, other in zip(weighted, doubled, strict=True):
        torch.testing.assert_close(one * 4, other * 5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
@full_float32()
def test_the_blockwise_loss_of_a_ladder_model_is_the_plain_one(family, weighted, text, monkeypatch):
    monkeypatch.setattr("thresher.proxies.training.head.BLOCK_BYTES", {"cpu": 4 * 131 * 17})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # several blocks, however many cores there are
    model = build_model(model_spec(f"{family}:60k", text), 1)
    batch = text.batch([0, 3, 7, 14, 20])
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0]) if weighted else None
    plain, blockwise = training_loss(model, batch, weights), language_loss(model, batch, weights)
    torch.testing.assert_close(blockwise, plain, rtol=1e-5, atol=1e-6)
    expected = torch.autograd.grad(plain, list(model.parameters()))
    for one, other in zip(torch.autograd.grad(blockwise, list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_blockwise_loss_survives_certain_and_hopeless_predictions():
    hidden, matrix = torch.tensor([[300.0, 0.0], [300.0, 0.0]], requires_grad=True), torch.eye(2, requires_grad=True)
    loss = head_loss(hidden, matrix, torch.tensor([0, 1]), torch.tensor([1.0, 0.5]))
    loss.backward()
    assert loss.item() == pytest.approx(150)
    assert hidden.grad.tolist() == [[0, 0], [0.5, -0.5]]


def test_unusable_inputs_are_refused_before_anything_is_written(text, digits, tmp_path):
    spec, n = model_spec("60k", text), len(text)
    nan = np.ones(n)
    nan[17] = np.nan
    for options, words in [
        ({"indices": np.array([], dtype=int)}, "list of indices is empty"),
        ({"indices": np.array([3, 330])}, "index 330 is outside of the pool's 330"),
        ({"indices": np.array([-1, 3])}, "index -1 is outside"),
        ({"indices": np.array([0.5])}, "pass a list of whole positions"),
        ({"weights": nan}, "weight nan of example 17"),
        ({"weights": -np.ones(n)}, "weight -1.0 of example 0"),
        ({"weights": np.ones(7)}, r"weights have shape \(7,\)"),
        ({"weights": np.zeros(n)}, "all weights are 0"),
        ({"mixture": {"argparse": 0.5, "jsom": 0.5}}, "domain 'jsom' has no example here; the domains are: argparse"),
        ({"mixture": {"argparse": 0.5, "json": 0.4}}, "shares sum to 0.9"),
        ({"mixture": {"argparse": float("nan")}}, "share nan"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            train(spec, text, out=tmp_path / "model", config=LANGUAGE, seed=0, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is for language, but"):
        train(spec, digits, out=tmp_path / "model", config=LANGUAGE, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_says_so_and_publishes_nothing(digits, tmp_path):
    config = replace(VISION, learning_rate=1e30)
    with pytest.raises(InputError, match=r"loss of step .* is not finite at learning rate 1e[+]30"):
        train(model_spec("mlp-9x2", digits), digits, out=tmp_path / "model", config=config, seed=0)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"learning_rate": -1.0}, {"warmup": 1.0}, {"schedule": "step"}])
def test_a_config_that_makes_no_sense_is_refused(change):
    (name,) = change
    with pytest.raises(InputError, match=name):
        TrainConfig(**change)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "onecycle"])
def test_the_learning_rate_rises_over_the_warm_up_and_falls_towards_zero(schedule):
    config = TrainConfig(schedule=schedule, warmup=0.1)
    rates = [config.rate(step, 200) for step in range(200)]
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) == rates[20] == 1 and 0 < rates[-1] < 0.01 and 0 < rates[0] < 0.06
