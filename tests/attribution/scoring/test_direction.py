"""Slopes along directions against the exact dual, what a sample of the pool loses, and resumption."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.attribution.cases import checkpoints, digits, fitted
from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import by_window, cnn, exact_scores, gpt2, mlp
from thresher.attribution.gradients.slopes import Slopes, weighted_gradients
from thresher.attribution.scoring.direction import score_by_direction
from thresher.attribution.scoring.dual import dual_scores
from thresher.attribution.scoring.options import Options
from thresher.data.batches import all_of
from thresher.errors import InputError
from thresher.scores import read_scores


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
@pytest.mark.parametrize("q, output", [("sqrt", "margin"), ("mean", "margin"), ("none", "margin"), ("sqrt", "loss")])
def test_with_the_whole_pool_as_sample_the_scores_are_exact(tmp_path, make, q, output):
    pool, target = dual_cases.examples(tmp_path, make)
    models, options = checkpoints(make, 2), Options(damping=0.3, q=q, output=output)
    artifact = score_by_direction(models, pool, {"t": target}, out=tmp_path / "scores", sample=99, options=options)
    expected = exact_scores(models, pool, target, 0.3, q, output).mean(axis=1)
    np.testing.assert_allclose(read_scores(artifact, "t"), expected, rtol=1e-5, atol=1e-6 * abs(expected).max())
    assert artifact.facts["sample"] == 23
    assert all(kernel["relative_damping"] == 0.3 for kernel in artifact.facts["kernels"])


def test_several_targets_are_scored_as_each_alone(tmp_path):
    pool, target = dual_cases.examples(tmp_path, cnn)
    models, options = checkpoints(cnn, 1), Options(batch_tokens=6)
    targets = {"a": pool, "b": target, "c": digits(tmp_path / "c", slice(300, 304), prefix="c")}
    together = score_by_direction(models, pool, targets, out=tmp_path / "together", options=options)
    for name, examples in targets.items():
        alone = score_by_direction(models, pool, {name: examples}, out=tmp_path / f"only-{name}")
        np.testing.assert_allclose(read_scores(together, name), read_scores(alone, name), rtol=1e-5, atol=1e-8)


def test_a_sample_is_close_to_the_exact_scores_and_closer_the_larger(tmp_path):
    pool, target = digits(tmp_path / "pool", slice(0, 400)), digits(tmp_path / "target", slice(500, 600), prefix="t")
    models = checkpoints(trained, 1)
    exact = dual_scores(models, pool, target).mean(axis=1)

    def correlation(sample, seed):
        out = tmp_path / f"{sample}-{seed}"
        artifact = score_by_direction(models, pool, {"t": target}, out=out, sample=sample, seed=seed)
        return np.corrcoef(read_scores(artifact, "t"), exact)[0, 1]

    small, large = (np.mean([correlation(sample, seed) for seed in range(3)]) for sample in (40, 200))
    assert 0.6 < small < large < 1 and large > 0.85


def trained(seed):
    """A few steps on the digits, so that gradients have directions in common."""
    return fitted(mlp(seed), 400, steps=40, rate=0.01)


class Odd(nn.Module):
    """A lookup that is no first layer, a parameter that no layer has, and a weight used beside its layer's call."""

    def __init__(self):
        super().__init__()
        self.gain, self.aside = nn.Parameter(torch.ones(64)), nn.Linear(64, 5)
        self.places, self.head = nn.Embedding(3, 5), nn.Linear(5, 10)

    def forward(self, x):
        x = x.double().flatten(1) * self.gain
        places = self.places((x[:, :7] > 0).sum(dim=1, keepdim=True) % 3).sum(dim=1)
        return self.head(torch.tanh(self.aside(x)) + places * nn.functional.linear(x, self.aside.weight))


def odd(seed):
    torch.manual_seed(seed)
    return Odd().double()


@pytest.mark.parametrize("make", [mlp, cnn, gpt2, odd])
@pytest.mark.parametrize("num_directions", [1, 3])
def test_slopes_are_those_of_autograd(tmp_path, make, num_directions):
    pool = by_window(dual_cases.examples(tmp_path, make)[0])
    model = make(0)
    exact, confidence = dual_cases.gradients(model, pool)
    vectors = np.random.default_rng(0).standard_normal((num_directions, exact.shape[1]))
    with Slopes(model, all_of(pool).probe(), dual_cases.named(model, vectors)) as slopes:
        found, outputs = slopes.read(pool.batch(np.arange(11)))
    np.testing.assert_allclose(found, exact[:11] @ vectors.T, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(outputs.confidence, confidence[:11], rtol=1e-6)


def test_sums_of_gradients_do_not_depend_on_batches(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, gpt2)
    model, weights = gpt2(0), torch.randn(23, 3, dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]
    exact, _ = dual_cases.gradients(model, pool)
    for batch_tokens in (None, 17):
        made = weighted_gradients(model, names, all_of(pool, batch_tokens), weights)
        flat = torch.cat([value.flatten(1) for value in made.values()], dim=1)
        np.testing.assert_allclose(flat, weights.numpy().T @ exact, rtol=1e-8, atol=1e-10)


def test_a_killed_run_continues_with_the_shard_it_was_at(tmp_path, monkeypatch):
    pool, target = dual_cases.examples(tmp_path, mlp)
    models, targets = checkpoints(mlp, 1), {"t": target}
    whole = score_by_direction(models, pool, targets, out=tmp_path / "whole")
    called, once = [], Slopes.read

    def counting(self, batch):
        called.append(len(batch["labels"]))
        if stop_after is not None and len(called) > stop_after:
            raise KeyboardInterrupt
        return once(self, batch)

    monkeypatch.setattr(Slopes, "read", counting)
    stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        score_by_direction(models, pool, targets, out=tmp_path / "killed", shard_size=9)
    called.clear()
    stop_after = None
    monkeypatch.setattr("thresher.attribution.scoring.direction.gram", None)  # the direction is there already
    resumed = score_by_direction(models, pool, targets, out=tmp_path / "killed", shard_size=9)
    assert called == [2, 5]  # what it is set up with, and what was missing
    np.testing.assert_array_equal(read_scores(resumed, "t"), read_scores(whole, "t"))
    assert {file.name for file in resumed.path.iterdir()} == {"scores.parquet", "lengths.npy", "meta.json"}


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ({"sample": 0}, {}, "sample=0 is out of range"),
        ({}, {"damping": 0}, "damping=0 is out of range; pass a finite number, more than 0"),
        ({}, {"memory_gb": 1e-5}, "the kernel of 23 examples .* smaller sample"),
        ({"targets": {}}, {}, "no target given"),
    ],
)
def test_bad_requests_are_refused_in_one_line(tmp_path, arguments, options, message):
    pool, target = dual_cases.examples(tmp_path, mlp)
    arguments = {"targets": {"t": target}} | arguments
    with pytest.raises(InputError, match=message) as error:
        score_by_direction(checkpoints(mlp, 1), pool, out=tmp_path / "scores", options=Options(**options), **arguments)
    assert "\n" not in str(error.value) and not (tmp_path / "scores").exists()


def test_a_pool_that_gives_scores_that_are_not_finite_is_refused_with_the_example(tmp_path):
    pool, target = dual_cases.examples(tmp_path, mlp)

    class Fragile(nn.Module):
        """Overflows on one image of the pool."""

        def __init__(self):
            super().__init__()
            self.inner = mlp(0)

        def forward(self, x):
            bad = (x.flatten(1) == bright.flatten()).all(dim=1)
            return self.inner(x) / torch.where(bad, 0.0, 1.0)[:, None]

    bright = pool.batch([17])["pixel_values"]
    with pytest.raises(InputError, match="example 'z17' has"):
        score_by_direction([("x", Fragile)], pool, {"t": target}, out=tmp_path / "scores", sample=1, seed=1)
