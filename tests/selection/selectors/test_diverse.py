"""DsDm that pays for redundancy, against a plain greedy loop."""

import numpy as np
import pytest

from tests.selection.cases import evidence
from thresher.errors import InputError
from thresher.selection.choosing import select_by
from thresher.selection.evidence import Evidence
from thresher.selection.selectors import diverse


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain_greedy(values, features, weight, similarity, num):
    chosen: list[int] = []
    for _ in range(num):
        cosines = np.clip(features @ features[chosen].T, 0, None) if chosen else np.zeros((len(values), 1))
        redundancy = cosines.max(axis=1) if similarity == "max" else cosines.sum(axis=1)
        gains = values - weight * redundancy
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
    return chosen


@pytest.mark.parametrize("similarity", ["max", "mean"])
@pytest.mark.parametrize("block", [1, 5, 512])
def test_the_lazy_order_is_the_plain_greedy_one(monkeypatch, similarity, block):
    monkeypatch.setattr(diverse, "BLOCK", block)
    rng = np.random.default_rng(4)
    features, values = unit(rng.normal(size=(83, 6))), rng.normal(size=83)
    for weight in (0.05, 0.7, 5.0):
        found = diverse.greedy(values, features, weight, similarity, lambda chosen: len(chosen) >= 30)
        assert found[:30].tolist() == plain_greedy(values, features, weight, similarity, 30)
        assert sorted(found.tolist()) == list(range(83))


def test_without_a_discount_it_is_dsdm():
    plain = select_by("dsdm", evidence(), fraction=0.3).kept
    np.testing.assert_array_equal(select_by("dsdm_diverse:discount=0", evidence(), fraction=0.3).kept, plain)


def test_a_discount_takes_fewer_planted_copies():
    rng = np.random.default_rng(0)
    features = unit(np.concatenate([np.repeat(rng.normal(size=(5, 9)), 8, axis=0), rng.normal(size=(60, 9))]))
    scores = np.concatenate([np.full(40, 2.0), rng.normal(size=60)]) + 0.01 * rng.normal(size=100)
    given = Evidence([f"{i:03d}" for i in range(100)], scores={"a": scores}, features=features)
    copies = [int((select_by(f"dsdm-diverse:discount={d}", given, count=30).kept < 40).sum()) for d in (0, 1, 4)]
    assert copies[0] >= 29 and copies[0] > copies[1] > copies[2]
    assert copies[2] >= 5  # one of each group is still the best there is
    mean = select_by("dsdm-diverse:discount=20,similarity=mean", given, count=30).kept
    assert (mean < 40).sum() < 30


def test_a_budget_of_tokens_and_caps_hold():
    given = evidence()
    selected = select_by("dsdm_diverse:tokens=150,per_domain=0.5", given)
    lengths = given["lengths"][selected.kept]
    assert 150 <= lengths.sum() < 150 + 11
    for domain in set(given.domains):
        assert lengths[given.domains[selected.kept] == domain].sum() <= 75


def test_a_negative_discount_is_refused():
    with pytest.raises(InputError, match=r"discount=-1\.0 is no price; pass"):
        select_by("dsdm_diverse:discount=-1", evidence(), count=3)


def test_what_is_passed_over_makes_nothing_redundant():
    # A: scores 10 and 9; B: a copy of A's 9, which is over A's cap, and 7.9.
    features = unit(np.eye(5)[[0, 1, 1, 2, 3]])
    scores = np.array([10, 9, 8, 7.9, 1.0])
    given = Evidence(list("abcde"), list("AABBB"), scores={"t": scores}, features=features)
    found = select_by("dsdm_diverse:count=2,per_domain=.5", given)
    assert found.kept.tolist() == [0, 2] and "its domain is full" in found.reasons[found.dropped.tolist().index(1)]


def test_scores_that_cancel_rank_nothing():
    scores = np.arange(6.0)
    given = Evidence(list("abcdef"), scores={"a": scores, "b": -scores}, features=unit(np.eye(6)))
    with pytest.raises(InputError, match="all 6 examples have the same score 0"):
        select_by("dsdm_diverse", given, count=2)
