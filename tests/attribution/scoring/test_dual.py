"""The exact dual against the formula in parameter space, with gradients by autograd, and what it refuses."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from tests.attribution.cases import checkpoints
from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import by_window, cnn, exact_scores, gpt2, mlp
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.gradients.factored import GradientReader
from thresher.attribution.scoring.dual import dual_scores, score_dual
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.scores import score
from thresher.data.batches import all_of
from thresher.errors import InputError
from thresher.scores import read_scores


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
@pytest.mark.parametrize("q, output", [("sqrt", "margin"), ("mean", "margin"), ("none", "margin"), ("sqrt", "loss")])
def test_dual_scores_equal_the_formula_in_parameter_space(tmp_path, make, q, output):
    pool, target = dual_cases.examples(tmp_path, make)
    models = checkpoints(make, 2)
    found = dual_scores(models, pool, target, options=Options(damping=0.3, q=q, output=output))
    expected = exact_scores(models, pool, target, 0.3, q, output)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * abs(expected).max())


def test_the_artefact_equals_scores_from_identity_features(tmp_path):
    pool, target = dual_cases.examples(tmp_path, mlp)
    models = checkpoints(mlp, 2)
    made = [
        open_features(
            featurize(models, e, out=tmp_path / f"f{len(e)}", projection="identity", store_dtype="float32").path
        )
        for e in (pool, target)
    ]
    # The mean of the diagonal is over parameters there and over examples here.
    by_features = score(made[0], {"t": made[1]}, out=tmp_path / "features", damping=0.5 * made[0].k / len(pool), top=4)
    dual = score_dual(models, pool, {"t": target}, out=tmp_path / "dual", options=Options(damping=0.5), top=4)
    mean_only = score_dual(models, pool, {"t": target}, out=tmp_path / "mean", options=Options(damping=0.5))
    for artifact in (dual, mean_only):
        np.testing.assert_allclose(read_scores(artifact, "t"), read_scores(by_features, "t"), rtol=1e-4, atol=1e-6)
        ours, theirs = (pq.read_table(a.file("scores.parquet")) for a in (artifact, by_features))
        assert ours.schema == theirs.schema and ours["id"] == theirs["id"] and ours["domain"] == theirs["domain"]
    ours, theirs = (pq.read_table(a.file("top.parquet")).drop_columns("score") for a in (dual, by_features))
    assert ours == theirs
    found, expected = ([k["damping"] for k in a.facts["kernels"]] for a in (dual, by_features))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
def test_scores_do_not_depend_on_tiles_and_batches(tmp_path, make):
    pool, target = dual_cases.examples(tmp_path, make)
    models = checkpoints(make, 1)
    whole = dual_scores(models, pool, target)
    with GradientReader(make(0), all_of(pool).probe()) as reader:
        one_example = reader.numbers * 8 / 1e9
    for options in (Options(memory_gb=2e-5 + 9 * one_example), Options(batch_tokens=13)):
        found = dual_scores(models, pool, target, options=options)
        np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-12 * abs(whole).max())


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
def test_inner_products_are_those_of_autograd(tmp_path, make):
    pool = by_window(dual_cases.examples(tmp_path, make)[0])
    model = make(0)
    exact, _ = dual_cases.gradients(model, pool)
    direction = np.random.default_rng(0).standard_normal((2, exact.shape[1]))
    with GradientReader(model, all_of(pool).probe()) as reader:
        first, _ = reader.read(pool.batch(np.arange(9)))
        second, _ = reader.read(pool.batch(np.arange(9, 23)))
        np.testing.assert_allclose(first.inner(second), exact[:9] @ exact[9:23].T, rtol=1e-8, atol=1e-9)
        along = first.along(dual_cases.named(model, direction))
        np.testing.assert_allclose(along, exact[:9] @ direction.T, rtol=1e-8, atol=1e-9)
        # One position an example is cheaper in factors.
        assert reader.factored == {mlp: {"2.weight", "5.weight"}, cnn: {"8.weight"}, gpt2: set()}[make]


def test_many_positions_in_factors_give_the_same_inner_products(tmp_path, monkeypatch):
    monkeypatch.setattr(GradientReader, "_is_cheaper", lambda *_: True)
    for make in (cnn, gpt2):
        pool = by_window(dual_cases.examples(tmp_path / make.__name__, make)[0])
        model = make(0)
        exact, _ = dual_cases.gradients(model, pool)
        with GradientReader(model, all_of(pool).probe()) as reader:
            first, _ = reader.read(pool.batch(np.arange(9)))
            second, _ = reader.read(pool.batch(np.arange(9, 23)))
            np.testing.assert_allclose(first.inner(second), exact[:9] @ exact[9:23].T, rtol=1e-8, atol=1e-9)
            # Lookups (one of them the head too) and groups of channels have no factors.
            weights = {name for name, value in model.named_parameters() if value.ndim > 1}
            without = {"5.weight", "transformer.wte.weight", "transformer.wpe.weight"}
            assert reader.factored == weights - without


class Odd(nn.Module):
    """A parameter that no layer has, and a weight used beside its layer's call."""

    def __init__(self):
        super().__init__()
        self.gain, self.aside = nn.Parameter(torch.ones(64)), nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = x.double().flatten(1) * self.gain
        return self.head(torch.tanh(self.aside(x)) + nn.functional.linear(x, self.aside.weight))


def odd(seed):
    torch.manual_seed(seed)
    return Odd().double()


def test_parameters_that_hooks_do_not_reach_count_too(tmp_path):
    pool, target = dual_cases.examples(tmp_path, odd)
    models = checkpoints(odd, 1)
    expected = exact_scores(models, pool, target, 3.0)
    np.testing.assert_allclose(dual_scores(models, pool, target), expected, rtol=1e-7, atol=1e-9 * abs(expected).max())


def test_a_killed_run_continues_with_the_checkpoint_it_was_at(tmp_path):
    pool, target = dual_cases.examples(tmp_path, mlp)
    loaded = []

    def load(seed, fails):
        loaded.append(seed)
        if fails:
            raise KeyboardInterrupt
        return mlp(seed)

    def models(fails):
        return [(f"hash{seed}", lambda seed=seed: load(seed, fails and seed == 1)) for seed in range(2)]

    with pytest.raises(KeyboardInterrupt):
        score_dual(models(True), pool, {"t": target}, out=tmp_path / "scores")
    artifact = score_dual(models(False), pool, {"t": target}, out=tmp_path / "scores")
    assert loaded == [0, 1, 1]
    expected = exact_scores(models(False), pool, target, 3.0).mean(axis=1)
    np.testing.assert_allclose(read_scores(artifact, "t"), expected, rtol=1e-5, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"memory_gb": 1e-5}, r"the kernel of 23 examples with 7 columns of scores takes .* enough for 17 examples"),
        ({"damping": -1}, "damping=-1 is out of range; pass a finite number, 0 or more"),
        ({"q": "max"}, "q 'max' is unknown"),
        ({"output": "logit"}, "output 'logit' is unknown"),
        ({"parameters": "^none$"}, "no trainable parameter matches"),
    ],
)
def test_bad_requests_are_refused_in_one_line(tmp_path, options, message):
    pool, target = dual_cases.examples(tmp_path, mlp)
    with pytest.raises(InputError, match=message) as error:
        dual_scores(checkpoints(mlp, 1), pool, target, options=Options(**options))
    assert "\n" not in str(error.value)


def test_memory_for_less_than_one_example_is_refused(tmp_path):
    pool, target = dual_cases.examples(tmp_path, gpt2)
    with pytest.raises(InputError, match=r"the gradients of one example take .* give more memory"):
        dual_scores(checkpoints(gpt2, 1), pool, target, options=Options(memory_gb=3e-5))


def test_a_diverged_model_is_refused_with_the_example(tmp_path):
    pool, target = dual_cases.examples(tmp_path, mlp)
    model = mlp(0)
    model[2].bias.data[3] = torch.nan
    with pytest.raises(InputError, match="example 'z0' has gradients that are not finite"):
        dual_scores([("x", lambda: model)], pool, target)
