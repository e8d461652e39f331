"""Attribution quality against size: overlap of rankings against published values, and the study end to end."""

import json

import numpy as np
import pytest

from tests.attribution.cases import digits
from thresher.attribution.quality.agreement import jaccard, rank_biased_overlap, top_k
from thresher.cli.main import main
from thresher.errors import InputError


def test_the_top_is_each_targets_own_largest_first():
    scores = np.array([[1.0, 5.0], [3.0, 4.0], [2.0, 6.0]])
    assert top_k(scores, 2).tolist() == [[1, 2], [2, 0]]
    with pytest.raises(InputError, match="top 4 of 3"):
        top_k(scores, 4)


def test_jaccard_counts_shared_positions():
    first, second = np.array([[0, 1], [1, 2], [2, 3]]), np.array([[2, 7], [1, 8], [5, 9]])
    np.testing.assert_allclose(jaccard(first, second), [2 / 4, 0])
    np.testing.assert_allclose(jaccard(first, first), [1, 1])


def test_rank_biased_overlap_is_its_definition_and_has_the_right_ends():
    rng = np.random.default_rng(0)
    first, second = (np.array([rng.permutation(30)[:12] for _ in range(4)]).T for _ in range(2))
    p, depths = 0.9, range(1, 13)
    expected = []
    for a, b in zip(first.T, second.T, strict=True):
        overlaps = [len(set(a[:d]) & set(b[:d])) for d in depths]
        tail = (1 - p) / p * sum(x / d * p**d for x, d in zip(overlaps, depths, strict=True))
        expected.append(overlaps[-1] / 12 * p**12 + tail)
    np.testing.assert_allclose(rank_biased_overlap(first, second, p), expected)
    np.testing.assert_allclose(rank_biased_overlap(first, first), 1)
    np.testing.assert_allclose(rank_biased_overlap(first, first + 100), 0)
    swapped = first[::-1]
    assert (rank_biased_overlap(first, swapped) < 1).all()


@pytest.mark.slow
def test_a_ladder_is_judged_by_the_reference_and_costs_grow_with_size(tmp_path, capsys):
    digits(tmp_path / "pool", slice(0, 120))
    digits(tmp_path / "target", slice(120, 150))
    command = ["lds", "--pool", tmp_path / "pool", "--target", tmp_path / "target", "--model", "mlp-16x1", "--ladder",
               "mlp-4x1", "mlp-8x1", "--subsets", "12", "--repeats", "2", "--checkpoints", "2", "--k", "32",
               "--top", "20", "--epochs", "6", "--batch-size", "16", "--learning-rate", "0.05",
               "--workers", "1", "--device", "cpu", "--out", tmp_path / "out", "--json"]  # fmt: skip
    assert main([*map(str, command)]) == 0
    result = json.loads(capsys.readouterr().out)
    sizes = result["sizes"]
    assert list(sizes) == ["mlp-4x1", "mlp-8x1", "mlp-16x1"]
    assert sizes["mlp-4x1"]["flops"] < sizes["mlp-8x1"]["flops"] < sizes["mlp-16x1"]["flops"]
    reference = sizes["mlp-16x1"]
    assert reference["jaccard"] == reference["rbo"] == pytest.approx(1) and reference["relative"] == 1
    assert reference["lds"] == reference["own_lds"] and reference["lds"]["mean"] > 0.1
    assert 0 < sizes["mlp-4x1"]["jaccard"] < 1 and "own_lds" in sizes["mlp-4x1"]
    assert main([*map(str, command)]) == 0
    assert not json.loads(capsys.readouterr().out)["built"]
