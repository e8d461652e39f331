"""Duplicates, exact, near and semantic: what was planted is found, and nothing else."""

import numpy as np
import pytest

from tests.selection.cases import NUM, evidence
from thresher.errors import InputError
from thresher.selection.choosing import select_by
from thresher.selection.evidence import Evidence
from thresher.selection.selectors import duplicates
from thresher.selection.selectors.semdedup import nearest_farther
from thresher.vectors import clusters, directions


def documents(num: int, seed: int = 0, length: int = 100) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"w{word}" for word in rng.integers(0, 5000, length)] for _ in range(num)]


def pool_of(words: list[list[str]]) -> Evidence:
    return Evidence([f"d{i:04d}" for i in range(len(words))], texts=[" ".join(own) for own in words])


def test_exact_keeps_one_of_each_text_whatever_its_case_and_spaces():
    given = Evidence(list("cabed"), texts=["One  two", "one two", "three", " ONE\ntwo ", "four"])
    selected = select_by("exact", given)
    assert [given.ids[position] for position in selected.kept] == ["a", "b", "d"]
    assert selected.reasons == ["exact", "exact"]
    assert selected.scores.tolist() == [3, 3, 1, 3, 1]


def test_minhash_finds_planted_near_copies_and_nothing_else():
    originals = documents(300)
    copies = [list(own) for own in originals[:150]]
    for number, own in enumerate(copies):
        own[number % 100] = "changed"  # 5 of 96 runs of five words at most: Jaccard at least 91/101
    selected = select_by("minhash", pool_of(originals + copies))
    # Of pairs at .9 all but (1 - .9^6)^21 = 2e-7 share a band.
    assert selected.kept.tolist() == list(range(300))
    assert np.nanmin(selected.scores) >= 0.9


def test_pairs_below_the_threshold_stay():
    originals = documents(60)
    halves = [[*own[:50], *other[:50]] for own, other in zip(originals, documents(60, seed=1), strict=True)]
    assert select_by("minhash:0.8", pool_of(originals + halves)).num_kept == 120
    # Half the runs shared: Jaccard about 46 / 146.
    assert select_by("minhash:0.25", pool_of(originals + halves)).num_kept == 60


def test_similarity_is_the_exact_jaccard_of_runs_of_words():
    a, b = "a b c d e f g", "a b c d e f x"
    selected = select_by("minhash:threshold=0.3,ngram=3", Evidence(["1", "2"], texts=[a, b]))
    assert selected.scores.tolist() == [4 / 6, 4 / 6] and selected.num_kept == 1


def test_signatures_agree_as_often_as_sets_overlap():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 900, dtype=np.uint64)
    sets = [np.unique(base[:600]), np.unique(base[300:])]  # Jaccard 1/3
    signatures = duplicates.signatures_of(sets, 2000, rng)
    # Binomial(2000, 1/3): sd .0105.
    assert abs(np.mean(signatures[0] == signatures[1]) - 1 / 3) < 0.05


def test_signatures_do_not_depend_on_who_is_signed_together(monkeypatch):
    sets = [np.arange(i + 1, dtype=np.uint64) ** 2 for i in range(20)]
    together = duplicates.signatures_of(sets, 16, np.random.default_rng(5))
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    np.testing.assert_array_equal(duplicates.signatures_of(sets, 16, np.random.default_rng(5)), together)


def crowd(num_pairs: int, boilerplate: int = 180, shared: int = 18, own: int = 20) -> list[list[str]]:
    """Pairs of near copies that all begin alike, in a random order."""
    head = [f"b{i}" for i in range(boilerplate)]
    pairs = [
        [*head, *(f"g{pair}x{i}" for i in range(shared)), *(f"u{pair}c{copy}y{i}" for i in range(own))]
        for pair in range(num_pairs)
        for copy in range(2)
    ]
    return [pairs[place] for place in np.random.default_rng(3).permutation(len(pairs))]


def similarities(words: list[list[str]]) -> np.ndarray:
    """The Jaccard similarity of all pairs, without hashes; 0 of each with itself."""
    runs = [{tuple(own[i : i + 5]) for i in range(len(own) - 4)} for own in words]
    jaccard = np.array([[len(a & b) / len(a | b) for b in runs] for a in runs])
    return jaccard - np.diag(np.diag(jaccard))


def test_pairs_are_found_among_many_that_share_boilerplate():
    words = crowd(100)
    jaccard = similarities(words)
    pairs = np.argwhere(jaccard >= 0.8)
    assert len(pairs) == 200 and 0.65 < np.median(jaccard) < 0.75
    selected = select_by("minhash:0.8", pool_of(words))
    # Of pairs at .83 all but (1 - .83^6)^21 = .1 % share a band.
    assert selected.num_kept <= 101
    found = ~np.isnan(selected.scores)
    np.testing.assert_allclose(selected.scores[found], jaccard.max(axis=1)[found])


def test_crowds_of_near_copies_are_one_group_and_are_not_compared_pair_by_pair(monkeypatch):
    base = [f"b{i}" for i in range(100)]
    words = [[*base[:50], f"x{i}", *base[50:]] for i in range(400)] + [base] * 400 + documents(5)
    compared = []
    whole = duplicates._Jaccard.__call__

    def counting(self, a, b, threshold):
        compared.append(len(a))
        return whole(self, a, b, threshold)

    monkeypatch.setattr(duplicates._Jaccard, "__call__", counting)
    monkeypatch.setattr(duplicates, "PAIRS", 100)
    monkeypatch.setattr(duplicates, "NEAR", 4)
    monkeypatch.setattr(duplicates, "BLOCK", 3000)
    selected = select_by("minhash:0.8", pool_of(words))
    assert selected.kept.tolist() == [0, *range(800, 805)]
    # 401 different texts have 80,200 pairs; the copies of the last one add none.
    assert 400 <= sum(compared) < 40_000
    assert selected.scores[400:800].tolist() == [1.0] * 400


def test_bands_catch_what_they_promise():
    for threshold in (0.5, 0.8, 0.95):
        rows = duplicates.rows_in_band(threshold, 128)
        assert 1 - (1 - threshold**rows) ** (128 // rows) >= duplicates.CAUGHT
    assert duplicates.rows_in_band(0.8, 128) == 6


def planted(num_groups: int = 12, copies: int = 4, singles: int = 40):
    """Groups of near-copies, and singles: (vectors, group of each; -1 single)."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(num_groups, 16))
    grouped = np.repeat(centres, copies, axis=0) + 0.01 * rng.normal(size=(num_groups * copies, 16))
    return np.concatenate([grouped, rng.normal(size=(singles, 16))]), np.r_[
        np.repeat(np.arange(num_groups), copies), np.full(singles, -1)
    ]


def test_semdedup_keeps_one_of_each_planted_group_and_every_single():
    rows, groups = planted()
    given = Evidence([f"{i:03d}" for i in range(len(rows))], embeddings=rows)
    kept = select_by("semdedup:eps=0.01,clusters=3", given).kept
    assert sorted(groups[kept].tolist()) == [-1] * 40 + list(range(12))


def test_a_share_to_keep_drops_the_most_alike():
    rows, groups = planted()
    given = Evidence([f"{i:03d}" for i in range(len(rows))], embeddings=rows)
    kept = select_by(f"semdedup:keep={52 / 88},clusters=3", given).kept
    assert sorted(groups[kept].tolist()) == [-1] * 40 + list(range(12))


def test_semdedup_is_the_paper_s_loop():
    rows, _ = planted()
    vectors = directions(rows, rows.mean(axis=0))
    labels, cosines = clusters(vectors, 4, seed=1)
    found = nearest_farther(vectors, labels, cosines)
    for i in range(len(vectors)):
        farther = [j for j in range(len(vectors)) if labels[j] == labels[i] and cosines[j] < cosines[i]]
        expected = max((float(vectors[i] @ vectors[j]) for j in farther), default=-1.0)
        assert found[i] == pytest.approx(expected, abs=1e-5)


def test_blocks_of_a_large_cluster_are_compared_with_all_of_it(monkeypatch):
    vectors = directions(np.random.default_rng(0).normal(size=(50, 5)))
    labels, cosines = np.zeros(50, dtype=int), np.random.default_rng(1).random(50)
    whole = nearest_farther(vectors, labels, cosines)
    monkeypatch.setattr("thresher.selection.selectors.semdedup.ROWS", 7)
    np.testing.assert_allclose(nearest_farther(vectors, labels, cosines), whole, atol=1e-6)


def test_d4_drops_copies_and_then_takes_the_least_prototypical():
    rows, groups = planted()
    given = Evidence([f"{i:03d}" for i in range(len(rows))], embeddings=rows)
    selected = select_by(f"d4:count=20,dedup={52 / 88},clusters=3", given)
    left = np.flatnonzero(~np.isnan(selected.scores))
    assert sorted(groups[left].tolist()) == [-1] * 40 + list(range(12))
    assert selected.scores[selected.kept].min() >= np.nanmax(np.delete(selected.scores, selected.kept))
    assert selected.reasons.count("d4: not to be taken") == 36


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("semdedup:eps=0", r"eps=0.0 is outside \(0, 2\)"),
        ("semdedup:eps=2.5", r"eps=2.5 is outside"),
        ("semdedup:keep=0", r"keep=0.0 is outside \(0, 1\]"),
        ("semdedup:clusters=-1", "clusters=-1"),
        ("semdedup:eps=0.5,keep=0.9", "eps=0.5 and keep=0.9 are two ways"),
        ("minhash:1.5", r"threshold=1.5 is outside \(0, 1\]"),
        ("minhash:ngram=0", "ngram=0"),
        ("d4:0.5,dedup=0", "dedup=0.0 is outside"),
    ],
)
def test_what_cannot_be_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        select_by(spec, evidence())


def test_more_clusters_than_examples_are_as_many_as_examples():
    assert select_by("semdedup:clusters=1000", evidence()).num_kept == NUM


def test_near_copies_are_found_in_writing_without_spaces_and_signs_alone_are_no_copies():
    rng = np.random.default_rng(0)
    signs = [chr(0x4E00 + n) for n in range(400)]
    texts = ["".join(rng.choice(signs, 200)) for _ in range(6)]
    near = texts[0][:197] + "天地玄"
    given = Evidence([f"{n}" for n in range(9)], texts=[*texts, near, "!!! ???", "--- +++"])
    assert select_by("minhash", given).kept.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]


def test_one_text_in_two_ways_of_writing_accents_is_a_copy():
    given = Evidence(["a", "b", "c"], texts=["Caf\u00e9 noir", "cafe\u0301  NOIR", "cafe noir"])
    assert select_by("exact", given).kept.tolist() == [0, 2]


def test_letters_that_folding_takes_apart_are_one_text_in_either_case():
    words = "Ταΐζω την γάτα ΰ"
    given = Evidence(["a", "b"], texts=[words, words.upper()])
    assert select_by("exact", given).kept.tolist() == [0]


def test_copies_at_the_pool_s_mean_are_copies():
    rows = np.array([[1.0, 1], [1, 1], [1, 1], [3, 1], [-1, 1], [1, 4], [1, -2]])
    assert len(select_by("semdedup", Evidence(list("abcdefg"), embeddings=rows)).kept) == 5
