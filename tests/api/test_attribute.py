"""`thresher.attribute` against dense formulas, and what it leaves behind: nothing."""

import gc
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import thresher
from tests.api.cases import blobs, dense_scores, gradient_of, margin, trained
from thresher.api.loaders import own_randomness
from thresher.errors import InputError

TRAIN, TEST = blobs(24, seed=1), blobs(6, seed=2)


@pytest.fixture
def model() -> nn.Module:
    return trained(TRAIN)


def both_losses(output, batch):
    return F.cross_entropy(output, batch[1], reduction="none")


def margins(model, data):
    values = [margin(model(x), int(y)) for x, y in data]
    return torch.stack([gradient_of(model, value) for value in values])


def test_exact_scores_are_the_dense_formula(model):
    result = thresher.attribute(model, TRAIN, TEST, method="exact", device="cpu")
    expected = dense_scores(margins(model, TRAIN), margins(model, TEST), damping=3)
    with torch.no_grad():
        confidence = model(TRAIN.tensors[0]).double().softmax(dim=1).gather(1, TRAIN.tensors[1][:, None])
    np.testing.assert_allclose(result.scores, (expected * (1 - confidence).sqrt()).numpy(), rtol=2e-3, atol=1e-7)
    assert result.scores.shape == (24, 6) and isinstance(result.scores, np.memmap)


def test_scores_of_a_loss_are_the_dense_formula_of_its_gradients(model):
    result = thresher.attribute(model, TRAIN, TEST, loss=both_losses, method="exact", device="cpu")
    rows, targets = (
        torch.stack([gradient_of(model, F.cross_entropy(model(x)[None], y[None])) for x, y in data])
        for data in (TRAIN, TEST)
    )
    np.testing.assert_allclose(result.scores, dense_scores(rows, targets, damping=3), rtol=2e-3, atol=1e-8)


def test_regression_needs_a_loss_and_takes_one():
    x = torch.randn(20, 4)
    data, model = TensorDataset(x, x.sum(dim=1)), nn.Linear(4, 1)
    with pytest.raises(InputError, match="pass loss="):
        thresher.attribute(model, data, data, device="cpu")
    result = thresher.attribute(model, data, data, loss=lambda out, batch: (out[:, 0] - batch[1]) ** 2, device="cpu")
    assert (np.diag(result.scores) > 0).all() and "accuracy" not in result.quality["train"]


def test_projected_scores_are_the_exact_ones_where_nothing_is_lost(model):
    size = sum(parameter.numel() for parameter in model.parameters())
    sketched = thresher.attribute(model, TRAIN, TEST, method="sjlt", k=4096, damping=1.0, device="cpu")
    # Damping is a multiple of the mean of the kernel's diagonal, which is over numbers here and over examples there.
    exact = thresher.attribute(model, TRAIN, TEST, method="exact", damping=24 / size, device="cpu")
    np.testing.assert_allclose(sketched.scores, exact.scores, rtol=1e-2, atol=1e-6)


def test_a_duplicate_helps_most_and_one_with_a_wrong_label_hurts_most(model):
    x, y = TEST[2]
    points = torch.cat([TRAIN.tensors[0], x[None], x[None]])
    labels = torch.cat([TRAIN.tensors[1], torch.tensor([int(y), (int(y) + 1) % 3])])
    result = thresher.attribute(model, TensorDataset(points, labels), TEST, q="none", device="cpu")
    assert result.top(test=2, k=1)["index"][0] == 24
    assert result.top(test=2, k=1, harmful=True)["index"][0] == 25
    assert result.scores[24, 2] > 0 > result.scores[25, 2]


def test_a_permuted_training_set_permutes_the_scores(model):
    order = torch.randperm(24).tolist()
    plain = thresher.attribute(model, TRAIN, TEST, device="cpu")
    permuted = thresher.attribute(model, Subset(TRAIN, order), TEST, device="cpu")
    np.testing.assert_allclose(permuted.scores, plain.scores[order], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"method": "two-sided", "k": 32}, {"loss": both_losses}])
def test_batch_sizes_and_shuffling_loaders_do_not_matter(model, options):
    shuffled = DataLoader(TRAIN, batch_size=5, shuffle=True)
    other = thresher.attribute(model, shuffled, DataLoader(TEST, batch_size=4), device="cpu", **options)
    plain = thresher.attribute(model, TRAIN, TEST, device="cpu", **options)
    np.testing.assert_allclose(other.scores, plain.scores, rtol=1e-3, atol=1e-6)


def test_scores_are_means_over_checkpoints_and_spread_their_deviation(model, tmp_path):
    others = [trained(TRAIN, seed=seed) for seed in (1, 2)]
    torch.save(others[0].state_dict(), tmp_path / "one.pt")
    three = [model.state_dict(), tmp_path / "one.pt", others[1]]
    options = {"q": "none", "device": "cpu"}
    result = thresher.attribute(model, TRAIN, TEST, checkpoints=three, **options)
    single = np.stack([thresher.attribute(m, TRAIN, TEST, **options).scores for m in (model, *others)])
    np.testing.assert_allclose(result.scores, single.mean(axis=0), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(result.spread, single.std(axis=0, ddof=1), rtol=1e-3, atol=1e-6)
    assert result.num_checkpoints == 3 and len(result.artifact.facts["quality"]) == 3


def test_of_one_checkpoint_the_spread_is_not_a_number(model):
    assert np.isnan(thresher.attribute(model, TRAIN, TEST, device="cpu").spread).all()


def test_the_table_has_the_rows_and_a_selection_positions(model):
    result = thresher.attribute(model, TRAIN, TEST, device="cpu")
    table = result.top(test=1, k=3)
    assert list(table.columns) == ["index", "score", "spread", "row"]
    assert table["score"].is_monotonic_decreasing and table["score"][0] == result.scores[:, 1].max()
    assert torch.equal(table["row"][0][0], TRAIN[int(table["index"][0])][0])
    kept = result.select(0.25)
    assert kept.dtype == np.int64 and len(kept) == 6 and (np.diff(kept) > 0).all()
    column = np.asarray(result.scores[:, 3])
    assert set(result.select(5, tests=[3])) == set(np.argsort(-column, kind="stable")[:5])
    assert set(result.select(5, tests=[3, 1], weights=[1.0, 0.0])) == set(result.select(5, tests=[3]))
    assert len(Subset(TRAIN, kept)) == 6  # type: ignore[arg-type]


def test_quality_is_the_models(model):
    result = thresher.attribute(model, TRAIN, TEST, device="cpu")
    with torch.no_grad():
        logits = model(TEST.tensors[0])
    assert result.quality["test"]["loss"] == pytest.approx(float(F.cross_entropy(logits, TEST.tensors[1])), rel=1e-4)
    assert result.quality["test"]["accuracy"] == float((logits.argmax(1) == TEST.tensors[1]).float().mean())
    assert "24 train x 6 test" in repr(result) and "<table>" in result._repr_html_()


def test_the_model_and_all_randomness_are_left_as_they_were(model):
    model.train()
    model[2].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7), np.random.seed(7)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(7), np.random.seed(7)
    for options in ({}, {"method": "two-sided", "k": 16}, {"loss": both_losses}):
        thresher.attribute(model, Noisy(), TEST, device="cpu", **options).top(test=0)
    assert (torch.rand(1), np.random.rand()) == expected
    assert [module.training for module in model] == [True, True, False] and model.training
    assert not model[0].bias.requires_grad and model[2].bias.requires_grad
    assert bool((model[0].weight.grad == 1).all()) and model[2].weight.grad is None
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_what_is_drawn_inside_leaves_pythons_own_generator_alone():
    before = random.getstate()
    with own_randomness():
        random.random()
    assert random.getstate() == before


class Noisy(Dataset):
    """A data set with a random transform."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        x, y = TRAIN[index]
        return x + 0.01 * torch.randn(5) + float(0.01 * np.random.randn()) + 0.01 * random.random(), y


def test_random_transforms_are_the_same_at_every_reading(model):
    one, other = (thresher.attribute(model, Noisy(), TEST, device="cpu") for _ in range(2))
    assert np.array_equal(one.scores, other.scores)


def test_a_temporary_result_goes_with_its_object(model):
    result = thresher.attribute(model, TRAIN, TEST, device="cpu")
    path = result.path
    assert path.exists()
    del result
    gc.collect()
    assert not path.exists()


def test_a_cache_opens_what_is_there_and_other_weights_or_data_make_another(model, tmp_path):
    def run(model=model, train=TRAIN, **options):
        return thresher.attribute(model, train, TEST, cache=tmp_path, device="cpu", **options)

    first = run()
    assert first.artifact.built and not run().artifact.built
    np.testing.assert_array_equal(run(train=list(TRAIN)).scores, first.scores)
    others = [run(trained(TRAIN, seed=5)), run(train=Subset(TRAIN, range(23))), run(damping=1.0), run(loss=both_losses)]
    assert all(other.artifact.built for other in others)
    assert len({other.path for other in (first, *others)}) == 5
    assert np.array_equal(thresher.open(first.path).scores, first.scores)


def test_a_killed_run_leaves_nothing_that_is_believed(model, tmp_path, monkeypatch):
    from thresher.api import attribute as module

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module._Work, "_save", killed)
        thresher.attribute(model, TRAIN, TEST, cache=tmp_path, device="cpu")
    assert not list(tmp_path.glob("attribution-*"))
    whole = thresher.attribute(model, TRAIN, TEST, cache=tmp_path, device="cpu")
    assert np.array_equal(whole.scores, thresher.attribute(model, TRAIN, TEST, device="cpu").scores)
