"""Q of examples whose p rounds to 1 in float32: every scorer weighs them by what is left of it, not by 0."""

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

import thresher
from tests.attribution.cases import checkpoints, digits, fitted, mlp
from thresher.attribution import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.scoring.direction import score_by_direction
from thresher.attribution.scoring.dual import score_dual
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.scores import score
from thresher.attribution.scoring.traker_backend import score_with_traker
from thresher.scores import read_scores


def sure(seed):
    """Right of most of the pool, with margins of ten and more."""
    model = fitted(mlp(seed), 60, steps=30, rate=0.02)
    with torch.no_grad():
        list(model.parameters())[-2].mul_(4)
    return model


def doubts(model, batch):
    """1 - p in float64, as the sum over the other classes."""
    with torch.no_grad():
        logits = model(batch["pixel_values"]).double()
    others = logits.log_softmax(dim=1).scatter(1, batch["labels"][:, None], -torch.inf)
    return others.logsumexp(dim=1).exp().numpy()


def by_features(models, pool, target, out, q):
    def stored(examples, name):
        return open_features(
            featurize(models, examples, out=out / f"{name}-features", k=16, projection="normal", seed=0).path
        )

    return score(stored(pool, "pool"), {"t": stored(target, "target")}, out=out / f"scores-{q}", q=q)


def by_dual(models, pool, target, out, q):
    return score_dual(models, pool, {"t": target}, out=out / f"scores-{q}", options=Options(q=q))


def by_direction(models, pool, target, out, q):
    return score_by_direction(models, pool, {"t": target}, out=out / f"scores-{q}", options=Options(q=q))


def by_traker(models, pool, target, out, q):
    return score_with_traker(models, pool, {"t": target}, out=out / f"scores-{q}", k=16, damping=1.0, q=q)


@pytest.fixture
def sides(tmp_path):
    return digits(tmp_path / "pool", slice(0, 60)), digits(tmp_path / "target", slice(200, 212), prefix="t")


@pytest.mark.parametrize("scorer", [by_features, by_dual, by_direction, by_traker])
def test_scores_are_weighed_by_what_a_sure_model_still_doubts(tmp_path, sides, scorer):
    if scorer is by_traker:
        pytest.importorskip("trak")
    pool, target = sides
    models = checkpoints(sure, 1)
    plain, weighed = (read_scores(scorer(models, pool, target, tmp_path, q), "t") for q in ("none", "mean"))
    expected = doubts(sure(0), pool.batch(np.arange(60)))
    assert 3 < (expected < 2e-8).sum() < 57
    np.testing.assert_allclose(weighed / plain, expected, rtol=2e-3)


@pytest.mark.parametrize("method", ["exact", "sjlt"])
def test_attribute_weighs_them_so_too(sides, method):
    batch = sides[0].batch(np.arange(60))
    data = TensorDataset(batch["pixel_values"], batch["labels"])
    options = {"method": method, "device": "cpu"} | ({"k": 16} if method == "sjlt" else {})
    plain, weighed = (
        thresher.attribute(sure(0), data, Subset(data, range(5)), q=q, **options).scores for q in ("none", "mean")
    )
    expected = np.broadcast_to(doubts(sure(0), batch)[:, None], (60, 5))
    np.testing.assert_allclose(weighed / plain, expected, rtol=2e-3)
