"""TrackStar with the second moments that training kept, against a direct computation from dense matrices."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.attribution.cases import digits, exact_gradients
from thresher.errors import InputError
from thresher.proxies.settings import ModelSettings
from thresher.scores import open_scores
from thresher.studies.experiments.lds import train_checkpoints
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.studies.scoring.pairs import pairs_by
from thresher.studies.scoring.score import score_by
from thresher.workspace import Workspace

DAMPING, BETA2 = 0.5, 0.95


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A pool, a target, a workspace, and how models are trained."""
    root = tmp_path_factory.mktemp("images")
    pool, target = digits(root / "pool", slice(0, 60), classes=3), digits(root / "t", slice(90, 97), 3, prefix="t")
    settings = {"size": "mlp-8x1", "optimizer": "adamw", "epochs": 6, "learning_rate": 0.01, "batch_size": 20}
    return pool, target, Workspace(root / "work"), settings


def basis_of(ground, keep, **options):
    pool, _, workspace, settings = ground
    settings = ModelSettings(**settings, keep_optimizer=keep)
    models = train_checkpoints(pool, settings, count=2, seed=0, workers=1, workspace=workspace)
    return Basis(models, pool, Attribution(projection="identity", damping=DAMPING, **options), workspace)


def test_scores_are_cosines_of_whitened_gradients_over_the_roots_of_second_moments(ground, tmp_path):
    pool, target, _, _ = ground
    basis = basis_of(ground, True)
    expected = 0
    for path, (_, load) in zip(basis.models, basis.loaders, strict=True):
        kept = load_file(f"{path}/optimizer.safetensors")
        model, scales = load(), []
        for name, _ in model.named_parameters():
            v = kept[f"exp_avg_sq {name}"] / (1 - BETA2**18)  # 3 batches of 20 in each of 6 epochs
            scales.append((1 / (v + 0.01 * v.mean()).sqrt()).flatten())
        rows, others = (exact_gradients(model, e.batch(range(len(e)))) * torch.cat(scales) for e in (pool, target))
        rows, others = rows.double().numpy(), others.double().numpy()
        kernel = rows.T @ rows
        values, vectors = np.linalg.eigh(kernel + DAMPING * np.diag(kernel).mean() * np.eye(len(kernel)))
        rows, others = (each @ (vectors / np.sqrt(values)) for each in (rows, others))
        unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (rows, others)]
        expected = expected + unit[0] @ unit[1].T / 2
    made = np.concatenate([block for _, block in pairs_by("trackstar", basis, target)])
    np.testing.assert_allclose(made, expected, atol=2e-3)
    artifact = score_by("trackstar", basis, {"t": target}, out=tmp_path / "scores")
    np.testing.assert_allclose(open_scores(artifact.path).of(None)["t"], expected.mean(axis=1), atol=2e-3)
    assert artifact.facts["second_moments"] is True


def test_without_them_gradients_are_as_they_are_and_the_scores_say_so(ground, tmp_path):
    with_moments, without = basis_of(ground, True), basis_of(ground, False)
    artifact = score_by("trackstar", without, {"t": ground[1]}, out=tmp_path / "scores")
    assert artifact.facts["second_moments"] is False
    pairs = [np.concatenate([b for _, b in pairs_by("trackstar", each, ground[1])]) for each in (with_moments, without)]
    assert np.abs(pairs[0] - pairs[1]).max() > 0.01


def test_a_projection_that_takes_gradients_apart_is_refused(ground):
    basis = basis_of(ground, True)
    basis.settings = Attribution(projection="two-sided", k=16)
    with pytest.raises(InputError, match="projection two-sided keeps no gradients that could be scaled; pass sjlt"):
        list(pairs_by("trackstar", basis, ground[1]))
