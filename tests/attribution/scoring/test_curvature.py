"""Scores by inverse curvature against dense solves, real upweighting, kronfluence, and themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.attribution.cases import checkpoints
from tests.attribution.curvature.test_factors import own_labels, plain_cnn
from tests.attribution.curvature.test_solving import dense
from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import cnn, gpt2, gradients, mlp
from thresher.attribution.curvature.ekfac import EKFAC
from thresher.attribution.curvature.factors import fit_factors
from thresher.attribution.curvature.inverse import Solving
from thresher.attribution.curvature.many_targets import invert_many, principal
from thresher.attribution.curvature.sampled import SampledLabels
from thresher.attribution.curvature.store import fit_curvature, open_curvature
from thresher.attribution.curvature.vectors import flatten, unflatten
from thresher.attribution.gradients.views import viewed
from thresher.attribution.scoring.curvature import curvature_scores, score_by_curvature
from thresher.attribution.scoring.options import Options
from thresher.data.batches import all_of
from thresher.errors import InputError
from thresher.outputs import logits_of, outputs_of
from thresher.scores import read_scores

EXACT = Solving(damping=0.5, sample=99, examples=99, steps=200, tolerance=1e-9)


def expected(make, seed, pool, target, output="margin"):
    """-grad f(t)^T (H + D)^-1 grad loss(z) by dense matrices, [n, t]."""
    model = make(seed)
    ekfac = EKFAC(fit_factors(model, all_of(pool)), EXACT.damping)
    ones = {name: torch.ones(1, *p.shape).double() for name, p in model.named_parameters()}
    matrix = dense(model, all_of(pool)).numpy() + np.diag(flatten(ekfac.damp(ones))[0].numpy())
    own, _ = gradients(model, pool, "loss")
    other, _ = gradients(model, target, output)
    return (-1 if output == "margin" else 1) * own @ np.linalg.solve(matrix, other.T)


@pytest.mark.parametrize(
    "make, output",
    [(mlp, "margin"), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((cnn, "loss"), (gpt2, "margin")))],
)
def test_solved_to_the_end_scores_are_those_of_the_dense_curvature(tmp_path, make, output):
    pool, target = dual_cases.examples(tmp_path, make)
    models, options = checkpoints(make, 2), Options(output=output)
    # Factors draw labels by the checkpoint's own model and the windows' own streams, so the same in both.
    exact = np.mean([expected(make, seed, pool, target, output) for seed in range(2)], axis=0)
    made = curvature_scores(models, pool, target, solving=EXACT, options=options)
    np.testing.assert_allclose(made, exact, rtol=1e-4, atol=1e-5 * abs(exact).max())
    artifact = score_by_curvature(models, pool, {"t": target}, out=tmp_path / "s", solving=EXACT, options=options)
    mean = exact.mean(axis=1)
    np.testing.assert_allclose(read_scores(artifact, "t"), mean, rtol=1e-4, atol=1e-5 * abs(mean).max())


def test_scores_are_what_retraining_with_an_example_weighed_up_does(tmp_path):
    """Softmax regression with a penalty of lambda / 2 |theta|^2: its optimum moves by exactly the solve."""
    pool, target = dual_cases.examples(tmp_path, regression)
    penalty, step = 0.02, 1e-3

    def train(weights):
        model = regression(0)
        batch = pool.batch(range(len(pool)))
        optimiser = torch.optim.LBFGS(
            model.parameters(), 1.0, 500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def loss():
            optimiser.zero_grad()
            losses = outputs_of(logits_of(model, batch), batch["labels"]).loss
            value = (losses * weights).mean() + penalty / 2 * sum(p.square().sum() for p in model.parameters())
            value.backward()
            return value

        optimiser.step(loss)
        return model

    def margins(model):
        batch = target.batch(range(len(target)))
        return outputs_of(logits_of(model, batch), batch["labels"]).margin.detach().numpy()

    ones = torch.ones(len(pool), dtype=torch.float64)
    trained = train(ones)
    (factor,) = fit_factors(trained, all_of(pool)).blocks
    solving = replace(EXACT, damping=penalty / float(factor.eigenvalues.mean()))
    scores = curvature_scores([("m", lambda: trained)], pool, target, solving=solving)
    for i in (0, 5, 11):
        up, down = ones.clone(), ones.clone()
        up[i], down[i] = 1 + step, 1 - step
        change = (margins(train(up)) - margins(train(down))) / (2 * step)
        np.testing.assert_allclose(scores[i] / len(pool), change, rtol=1e-3, atol=1e-3 * abs(change).max())


def regression(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(dual_cases.Double(), torch.nn.Flatten(), torch.nn.Linear(64, 10)).double().eval()


@pytest.mark.parametrize("make, steps", [(cnn, 0), (cnn, 3), (gpt2, 0), pytest.param(gpt2, 3, marks=pytest.mark.slow)])
def test_scores_do_not_depend_on_batches_and_pairs_average_to_those_of_the_mean(tmp_path, make, steps):
    pool, target = dual_cases.examples(tmp_path, make)
    models, solving = checkpoints(make, 2), Solving(sample=17, examples=15, steps=steps, tolerance=0)
    small = Options(batch_tokens=12 if make is gpt2 else 5)
    alone = score_by_curvature(models, pool, {"t": target}, out=tmp_path / "a", solving=solving)
    other = score_by_curvature(
        models, pool, {"u": pool, "t": target}, out=tmp_path / "b", solving=solving, options=small
    )
    scores = read_scores(alone, "t")
    np.testing.assert_allclose(read_scores(other, "t"), scores, rtol=1e-4, atol=1e-5 * abs(scores).max())
    if steps == 0:  # conjugate gradients are not linear in their right-hand side
        pairs = curvature_scores(models, pool, target, solving=solving).mean(axis=1)
        np.testing.assert_allclose(pairs, scores, rtol=1e-4, atol=1e-5 * abs(scores).max())


def test_factors_made_before_give_the_same_scores_and_others_are_refused(tmp_path):
    pool, target = dual_cases.examples(tmp_path, cnn)
    models, solving = checkpoints(cnn, 2), Solving(sample=17)
    store = open_curvature(fit_curvature(models, pool, out=tmp_path / "curvature", sample=17).path)
    assert store.artifact.facts["num_examples"] == 17 and store.artifact.facts["num_pool"] == len(pool)
    given = score_by_curvature(models, pool, {"t": target}, out=tmp_path / "given", solving=solving, curvature=store)
    anew = score_by_curvature(models, pool, {"t": target}, out=tmp_path / "anew", solving=solving)
    np.testing.assert_array_equal(read_scores(given, "t"), read_scores(anew, "t"))
    with pytest.raises(InputError, match="checkpoints"):
        curvature_scores(models[:1], pool, target, curvature=store)
    with pytest.raises(InputError, match="parameters"):
        curvature_scores(models, pool, target, curvature=store, options=Options(parameters="weight"))


def test_a_killed_run_continues_with_its_checkpoint(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, mlp)
    calls = []

    def load(seed, fail):
        calls.append(seed)
        if fail:
            raise RuntimeError("killed")
        return mlp(seed)

    models = [("hash0", lambda: load(0, False)), ("hash1", lambda: load(1, True))]
    with pytest.raises(RuntimeError, match="killed"):
        fit_curvature(models, pool, out=tmp_path / "c")
    fit_curvature([models[0], ("hash1", lambda: load(1, False))], pool, out=tmp_path / "c")
    assert calls == [0, 1, 1]


@pytest.mark.parametrize("solving", [Solving(sample=99), Solving(sample=99, steps=8)])
def test_a_few_combinations_of_the_targets_score_nearly_as_all_and_all_of_them_exactly(tmp_path, solving):
    pool, target = dual_cases.examples(tmp_path, gpt2)
    models = checkpoints(gpt2, 1)
    exact = curvature_scores(models, pool, target, solving=solving)
    agreements = [
        np.corrcoef(curvature_scores(models, pool, target, solving=solving, rank=r).flatten(), exact.flatten())[0, 1]
        for r in (2, 4, 6)
    ]
    assert 0.5 < agreements[0] < agreements[1] < agreements[2] < 1 and agreements[2] > 0.9, agreements
    whole = curvature_scores(models, pool, target, solving=solving, rank=len(target))
    np.testing.assert_array_equal(whole, exact)


@pytest.mark.parametrize("steps", [0, 200])
def test_combinations_of_all_targets_lose_nothing(tmp_path, steps):
    pool, target = dual_cases.examples(tmp_path, cnn)
    model, part = cnn(0), all_of(pool)
    factors, solving = fit_factors(model, part), replace(EXACT, steps=steps)
    rows, _ = gradients(model, target, "loss")
    targets = unflatten(torch.from_numpy(rows), dict(model.named_parameters()))
    exact = flatten(invert_many(model, factors, part, targets, solving, None)[0])
    mixing, kept = principal(flatten(targets), flatten(EKFAC(factors, solving.damping).solve(targets)), len(rows))
    assert kept == 1.0
    torch.testing.assert_close(mixing @ mixing.T, torch.eye(len(rows), dtype=torch.float64))
    some, facts, mixing = invert_many(model, factors, part, targets, solving, 3)
    assert mixing is not None and mixing.shape == (len(rows), 3) and 0 < facts["kept"] < 1
    # What is left out is worth what the eigenvalues left out say, in the norm that pool gradients give.
    made = mixing @ flatten({name: some[name] for name in targets})
    if steps == 0:
        ekfac, shapes = EKFAC(factors, solving.damping), dict(model.named_parameters())
        errors, whole = (
            float((each * flatten(ekfac.product(unflatten(each, shapes)))).sum()) for each in (made - exact, exact)
        )
        np.testing.assert_allclose(errors / whole, 1 - facts["kept"], rtol=1e-6)


def test_many_targets_are_scored_along_a_few_directions(tmp_path):
    pool, target = dual_cases.examples(tmp_path, cnn)
    models, solving = checkpoints(cnn, 2), Solving(sample=99)
    targets = {"pool": pool, "t": target, "again": target}
    made = {
        rank: score_by_curvature(models, pool, targets, out=tmp_path / f"{rank}", solving=solving, rank=rank)
        for rank in (None, 2, 3)
    }
    for name in targets:
        exact, two, three = (read_scores(made[rank], name) for rank in (None, 2, 3))
        np.testing.assert_array_equal(three, exact)
        np.testing.assert_allclose(two, exact, rtol=1e-4, atol=1e-4 * abs(exact).max())  # two of them are the same
    assert made[2].facts["solves"][0]["kept"] > 0.999
    with pytest.raises(InputError, match="rank=0 is out of range"):
        curvature_scores(models, pool, target, rank=0)


@pytest.mark.parametrize("views, count", [(("flip",), 2), pytest.param(("shift", "flip"), 6, marks=pytest.mark.slow)])
def test_scores_are_of_gradients_averaged_over_views(tmp_path, views, count):
    pool, target = (viewed(examples, views) for examples in dual_cases.examples(tmp_path, mlp))
    assert len(pool) == 23 and len(pool.windows.example) == 23 * count
    exact = expected(mlp, 0, pool, target)
    models = checkpoints(mlp, 1)
    made = curvature_scores(models, pool, target, solving=EXACT, options=Options(batch_tokens=11))
    np.testing.assert_allclose(made, exact, rtol=1e-4, atol=1e-5 * abs(exact).max())
    artifact = score_by_curvature(models, pool, {"t": target}, out=tmp_path / "s", solving=EXACT)
    np.testing.assert_allclose(read_scores(artifact, "t"), exact.mean(axis=1), rtol=1e-4, atol=1e-5 * abs(exact).max())


@pytest.mark.parametrize(
    "solving, message",
    [
        (Solving(sample=0), "sample=0"),
        (Solving(examples=0, steps=1), "examples=0"),
        (Solving(damping=0.0), "damping=0.0"),
        (Solving(steps=-1), "steps=-1"),
        (Solving(tolerance=1.0), "tolerance=1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, solving, message):
    pool, target = dual_cases.examples(tmp_path, mlp)
    with pytest.raises(InputError, match=message):
        curvature_scores(checkpoints(mlp, 1), pool, target, solving=solving)


def test_gradients_beyond_the_memory_given_are_refused(tmp_path):
    pool, target = dual_cases.examples(tmp_path, mlp)
    with pytest.raises(InputError, match="memory"):
        curvature_scores(checkpoints(mlp, 1), pool, target, options=Options(memory_gb=1e-6))


def test_scores_are_those_of_kronfluence(tmp_path, monkeypatch):
    """On layers it knows, by the same labels: it draws others, so both take the data's."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from torch.utils.data import TensorDataset

    class Loss(Task):
        def compute_train_loss(self, batch, model, sample=False):
            return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    pool, target = dual_cases.examples(tmp_path, plain_cnn)
    monkeypatch.setattr(SampledLabels, "__call__", own_labels)
    model = plain_cnn(0)
    layers = r"^(1|3|7)\."
    options = Options(output="loss", parameters=layers)
    made = curvature_scores([("m", lambda: model)], pool, target, solving=Solving(sample=99), options=options)

    task = Loss()
    data = [
        TensorDataset(*(part.batch(range(len(part)))[key] for key in ("pixel_values", "labels")))
        for part in (pool, target)
    ]
    analyzer = Analyzer(
        "curvature", prepare_model(plain_cnn(0), task), task, cpu=True, output_dir=str(tmp_path), disable_tqdm=True
    )
    analyzer.fit_all_factors(
        "f",
        data[0],
        per_device_batch_size=23,
        factor_args=FactorArguments(
            use_empirical_fisher=True,
            activation_covariance_dtype=torch.float64,
            gradient_covariance_dtype=torch.float64,
            per_sample_gradient_dtype=torch.float64,
            lambda_dtype=torch.float64,
        ),
    )
    analyzer.compute_pairwise_scores(
        "s",
        "f",
        query_dataset=data[1],
        train_dataset=data[0],
        per_device_query_batch_size=7,
        score_args=ScoreArguments(
            damping_factor=None,
            precondition_dtype=torch.float64,
            per_sample_gradient_dtype=torch.float64,
            score_dtype=torch.float64,
        ),
    )
    theirs = analyzer.load_pairwise_scores("s")["all_modules"].T.numpy()
    for t in range(len(target)):
        assert np.corrcoef(made[:, t], theirs[:, t])[0, 1] > 0.99
    np.testing.assert_allclose(made, theirs, rtol=1e-2, atol=1e-3 * abs(theirs).max())
