"""What halves of the features tell of a projection, against scores without one."""

import logging

import numpy as np
import pytest

from tests.attribution.cases import dense, synthetic_store
from thresher.attribution.scoring import scores as scores_module
from thresher.attribution.scoring.kernel import EXACT_DAMPING, usual_damping
from thresher.attribution.scoring.reliability import LEAST, agreement_of, numbers_for, warn_of_loss

NUM_POOL, NUM_TARGETS, SIZE = 400, 30, 3000


@pytest.fixture(scope="module")
def gradients() -> np.ndarray:
    """Pool, then targets: nearly at right angles, as those of texts are, with some directions in common."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(NUM_POOL + NUM_TARGETS, 60)) @ rng.normal(size=(60, SIZE)) / 60**0.5
    return 0.35 * shared + rng.normal(size=shared.shape)


def halves_of(gradients: np.ndarray, k: int) -> tuple[float, float]:
    """Estimated and true correlation with the scores of whole gradients, of a dense projection to k."""

    def scored(features: np.ndarray) -> np.ndarray:
        pool, target = features[:NUM_POOL], features[NUM_POOL:].mean(axis=0)
        damping = EXACT_DAMPING * np.square(pool).sum() / NUM_POOL
        return np.linalg.solve(pool @ pool.T + damping * np.eye(NUM_POOL), pool @ target)

    projected = gradients @ np.random.default_rng(1).normal(size=(SIZE, k)) / k**0.5
    estimated = agreement_of(scored(projected[:, ::2]), scored(projected[:, 1::2]))
    return estimated, float(np.corrcoef(scored(projected), scored(gradients))[0, 1])


@pytest.mark.parametrize("k", [512, 2048])
def test_halves_tell_how_far_scores_are_those_without_projection(gradients, k):
    estimated, true = halves_of(gradients, k)
    assert estimated == pytest.approx(true, abs=0.08)


def test_halves_with_nothing_in_common_agree_with_nothing():
    first = np.array([1.0, 2.0, 3.0, 4.0])
    assert agreement_of(first, -first) == 0.0
    assert agreement_of(first, first) == pytest.approx(1.0)
    assert agreement_of(first, -first, lost=0.0) == 1.0


def test_the_k_that_would_do_is_a_power_of_two_and_grows_as_the_error_asks():
    assert numbers_for(LEAST, 512) == 512
    assert numbers_for(0.5, 512) == 8192
    assert numbers_for(0.0, 512) is None


def test_a_projection_that_loses_much_is_warned_of_in_a_line_and_a_good_one_is_not(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_loss({"squad": 0.97, "math": 0.93}, 8192)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        warn_of_loss({"squad": 0.97, "math": 0.51}, 512)
    (record,) = caplog.records
    assert "'math'" in record.message and "0.51" in record.message and "k = 8,192 would" in record.message
    assert "\n" not in record.message


def test_scores_record_the_agreement_of_each_target_and_warn_of_noise(tmp_path, caplog):
    pool = synthetic_store(tmp_path / "pool", n=150, k=12, shard_size=64)
    target = synthetic_store(tmp_path / "target", n=9, k=12, seed=5)
    with caplog.at_level(logging.WARNING):
        made = scores_module.score(pool, {"a": target}, out=tmp_path / "scores")
    parts = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        by_checkpoint = []
        for m in range(pool.num_checkpoints):
            phi, wanted = dense(pool, m)[:, half], dense(target, m)[:, half].mean(axis=0)
            matrix = phi.T @ phi
            damping = usual_damping(6, 150) * np.diag(matrix).mean()
            by_checkpoint.append(phi @ np.linalg.solve(matrix + damping * np.eye(6), wanted))
        doubt = 1 - np.mean([pool.outputs(m)["confidence"] for m in range(pool.num_checkpoints)], axis=0)
        parts.append(np.mean(by_checkpoint, axis=0) * np.sqrt(doubt))
    assert made.facts["agreement"]["a"] == pytest.approx(agreement_of(*parts), abs=1e-4)
    assert bool(caplog.records) == (made.facts["agreement"]["a"] < LEAST)
