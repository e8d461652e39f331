"""The same scores as the package traker 0.3.2, called as its own documentation does."""

import logging

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from trak import TRAKer
from trak.projectors import BasicProjector, ProjectionType

from tests.attribution.cases import checkpoints, digits, mlp, token_examples
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.scoring import traker_backend
from thresher.attribution.scoring.scores import score
from thresher.attribution.scoring.traker_backend import score_with_traker
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.scores import read_scores


def cnn(seed=0):
    torch.manual_seed(seed)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10))
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), head).eval()


def gpt2(seed=0):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(vocab_size=19, n_positions=12, n_embd=8, n_layer=1, n_head=2)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@full_float32()
def traker_scores(models, pool, target, folder, k, projection="normal", seed=0, damping=0.0):
    """[n, t] by traker's own methods and its own classification task."""
    model = models[0][1]()
    size = sum(parameter.numel() for parameter in model.parameters())
    projector = BasicProjector(size, k, seed, ProjectionType(projection), torch.device("cpu"))
    traker = TRAKer(
        model,
        "image_classification",
        len(pool),
        save_dir=str(folder),
        device="cpu",
        projector=projector,
        use_half_precision=False,
        logging_level=logging.ERROR,
        lambda_reg=damping,
    )
    whole, other = pool.batch(np.arange(len(pool))), target.batch(np.arange(len(target)))
    for model_id, (_, load) in enumerate(models):
        traker.load_checkpoint(load().state_dict(), model_id=model_id)
        traker.featurize((whole["pixel_values"], whole["labels"]), num_samples=len(pool))
    traker.finalize_features()
    for model_id, (_, load) in enumerate(models):
        traker.start_scoring_checkpoint("t", load().state_dict(), model_id, num_targets=len(target))
        traker.score((other["pixel_values"], other["labels"]), num_samples=len(target))
    return np.array(traker.finalize_scores("t"))


def our_scores(models, pool, target, folder, k, projection="normal", seed=0, damping=0.0):
    options = {"k": k, "projection": projection, "seed": seed, "store_dtype": "float32"}
    stores = [
        open_features(featurize(models, e, out=folder / n, **options).path) for n, e in (("p", pool), ("t", target))
    ]
    return read_scores(score(stores[0], {"t": stores[1]}, out=folder / "s", convention="traker", damping=damping), "t")


def assert_close(found, expected):
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.fixture
def images(tmp_path):
    return digits(tmp_path / "pool", slice(0, 260)), digits(tmp_path / "target", slice(300, 333), prefix="t")


# The small CNN's kernel is too ill-conditioned for traker's float32 inverse to have four digits without damping.
@pytest.mark.parametrize("make, damping", [(mlp, 0.0), (cnn, 0.1)])
@pytest.mark.parametrize("num_checkpoints", [1, 2])
def test_classification_scores_are_those_of_traker(tmp_path, images, make, damping, num_checkpoints):
    models = checkpoints(make, num_checkpoints)
    # Over 100 columns: with one block of them traker 0.3.2 loses its projection between featurising and scoring.
    expected = traker_scores(models, *images, tmp_path / "traker", k=110, damping=damping).mean(axis=1)
    assert_close(our_scores(models, *images, tmp_path, k=110, damping=damping), expected)
    options = {"k": 110, "damping": damping}
    backend = score_with_traker(models, images[0], {"t": images[1]}, out=tmp_path / "backend", **options)
    assert_close(read_scores(backend, "t"), expected)


def test_scores_with_random_signs_and_another_seed_are_those_of_traker(tmp_path, images):
    models = checkpoints(mlp, 1)
    options = {"k": 110, "projection": "rademacher", "seed": 7}
    expected = traker_scores(models, *images, tmp_path / "traker", **options).mean(axis=1)
    assert_close(our_scores(models, *images, tmp_path, **options), expected)


def test_language_scores_are_those_of_traker(tmp_path):
    lengths = np.random.default_rng(0).integers(3, 13, size=60)
    pool = token_examples(tmp_path / "pool", lengths)
    target = token_examples(tmp_path / "target", lengths[:21], seed=1, prefix="t")
    models = checkpoints(gpt2, 2)
    backend = score_with_traker(models, pool, {"t": target}, out=tmp_path / "backend", k=30)
    assert_close(our_scores(models, pool, target, tmp_path, k=30), read_scores(backend, "t"))


def test_scores_without_projection_are_those_of_traker(tmp_path, images):
    models = checkpoints(lambda seed: mlp(seed, hidden=1), 1)
    size = sum(parameter.numel() for parameter in models[0][1]().parameters())
    options = {"projection": "identity", "damping": 0.5}
    backend = score_with_traker(models, images[0], {"t": images[1]}, out=tmp_path / "backend", **options)
    # traker divides gradients by sqrt(P), we do not: its lambda is P times smaller, and so are its scores.
    ours = our_scores(models, *images, tmp_path, k=1, projection="identity", damping=0.5 * size)
    assert_close(ours / size, read_scores(backend, "t"))


def test_a_model_with_an_unused_parameter_is_refused_in_one_line(tmp_path, images):
    def spare(seed):
        model = mlp(seed)
        model.register_parameter("spare", nn.Parameter(torch.ones(2)))
        return model

    with pytest.raises(InputError, match="traker cannot differentiate") as error:
        score_with_traker(checkpoints(spare, 1), images[0], {"t": images[1]}, out=tmp_path / "s", k=8)
    assert "\n" not in str(error.value)


def test_an_interrupted_traker_run_continues(tmp_path, images, monkeypatch):
    pool, target = images
    models = checkpoints(mlp, 2)
    whole = score_with_traker(models, pool, {"t": target}, out=tmp_path / "whole", k=30)
    calls, original = [], traker_backend.GradientComputer.compute_per_sample_grad

    def fails(self, batch):
        calls.append(1)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(traker_backend.GradientComputer, "compute_per_sample_grad", fails)
    with pytest.raises(KeyboardInterrupt):
        score_with_traker(models, pool, {"t": target}, out=tmp_path / "cut", k=30)
    resumed = score_with_traker(models, pool, {"t": target}, out=tmp_path / "cut", k=30)
    # 9 batches of pool and 2 of target a checkpoint; the first checkpoint was done, the second is begun anew.
    assert len(calls) == 14 + 11
    assert resumed.content_hash == whole.content_hash


def test_the_backend_leaves_the_root_logger_and_stderr_alone(tmp_path, images, capfd):
    handlers = logging.getLogger().handlers[:]
    score_with_traker(checkpoints(mlp, 1), images[0], {"t": images[1]}, out=tmp_path / "s", k=8)
    assert logging.getLogger().handlers == handlers
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("options", [{"projection": "two-sided"}, {"q": "max"}, {"k": 0}, {"damping": -1.0}])
def test_what_traker_cannot_do_is_refused(tmp_path, images, options):
    with pytest.raises(InputError, match=str(next(iter(options.values())))):
        score_with_traker(checkpoints(mlp, 1), images[0], {"t": images[1]}, out=tmp_path / "s", **options)


def test_more_features_than_windows_are_refused_before_a_gradient_is_taken(tmp_path, images, monkeypatch):
    monkeypatch.setattr(traker_backend.GradientComputer, "compute_per_sample_grad", lambda *_: pytest.fail("computed"))
    with pytest.raises(InputError, match="k=261 features over 260 windows has no inverse at damping 0"):
        score_with_traker(checkpoints(mlp, 1), images[0], {"t": images[1]}, out=tmp_path / "s", k=261)


# 260 images; the gradients of this CNN span fewer than 180 dimensions.
@pytest.mark.parametrize("make, k", [(mlp, 259), (mlp, 260), (cnn, 180)])
def test_a_kernel_that_float32_cannot_invert_is_refused(tmp_path, images, make, k):
    with pytest.raises(InputError, match=r"singular in float32 at damping 0 .* mean diagonal, [2-6]\.") as error:
        score_with_traker(checkpoints(make, 1), images[0], {"t": images[1]}, out=tmp_path / "s", k=k)
    assert "\n" not in str(error.value) and not (tmp_path / "s").exists()


@pytest.mark.parametrize("make, k", [(mlp, 260), (mlp, 300), (cnn, 180)])
def test_the_damping_that_a_refusal_names_gives_the_exact_scores(tmp_path, images, make, k):
    models = checkpoints(make, 1)
    options = {"k": k, "damping": 5.0}
    backend = score_with_traker(models, images[0], {"t": images[1]}, out=tmp_path / "backend", **options)
    assert_close(our_scores(models, *images, tmp_path, **options), read_scores(backend, "t"))


def test_documents_of_several_windows_count_by_their_windows(tmp_path):
    pool = token_examples(tmp_path / "pool", np.full(20, 12))
    target = token_examples(tmp_path / "target", np.full(5, 12), prefix="t")
    with pytest.raises(InputError, match="over 20 windows"):
        score_with_traker(checkpoints(gpt2, 1), pool, {"t": target}, out=tmp_path / "s", k=21)


def test_the_default_k_is_at_most_half_the_windows(tmp_path, images):
    found = score_with_traker(checkpoints(mlp, 1), images[0], {"t": images[1]}, out=tmp_path / "s")
    assert found.meta["config"]["k"] == 130


def test_a_model_that_diverged_is_refused(tmp_path, images):
    def diverged(seed):
        model = mlp(seed)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model

    with pytest.raises(InputError, match="not finite"):
        score_with_traker(checkpoints(diverged, 1), images[0], {"t": images[1]}, out=tmp_path / "s", k=8)
