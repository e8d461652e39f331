"""Each way to select against an oracle or an invariant, on a planted pool."""

import numpy as np
import pytest

from tests.selection.cases import NUM, TARGET_LIKE, evidence, facts, texts
from thresher.errors import InputError
from thresher.selection.choosing import select_by
from thresher.selection.evidence import Evidence
from thresher.selection.methods import METHODS
from thresher.selection.selectors import dsir, sampling
from thresher.selection.selectors.ngrams import hashed_ngrams

RANKINGS = [name for name, method in METHODS.items() if method.kind != "filter"]
FILTERS = [name for name, method in METHODS.items() if method.kind == "filter"]


def select(spec: str, given: Evidence | None = None, **budget):
    return select_by(spec, evidence() if given is None else given, **budget)


def kept_ids(spec: str, given: Evidence, **budget) -> list[str]:
    return [given.ids[position] for position in select_by(spec, given, **budget).kept]


@pytest.mark.parametrize("spec", [*RANKINGS, *(f"{name} | dsdm" for name in FILTERS)])
def test_everybody_is_kept_or_dropped_once_with_a_reason(spec):
    selected = select(spec, count=18)
    assert selected.num_kept == 18
    assert sorted(selected.order.tolist()) == list(range(NUM))
    assert len(selected.reasons) == NUM - 18 and all(selected.reasons)


@pytest.mark.parametrize("spec", [*(name for name in RANKINGS if name != "random"), *FILTERS])
def test_the_order_of_the_pool_does_not_matter(spec):
    budget = {} if spec in FILTERS else {"fraction": 0.2}
    order = np.random.default_rng(8).permutation(NUM)
    assert kept_ids(spec, evidence(order=order), **budget) == kept_ids(spec, evidence(), **budget) or (
        # A filter keeps the pool's order.
        spec in FILTERS and set(kept_ids(spec, evidence(order=order))) == set(kept_ids(spec, evidence()))
    )


@pytest.mark.parametrize("spec", RANKINGS)
def test_the_same_seed_selects_the_same(spec):
    first, again = (select(spec, evidence(seed=3), count=20).kept for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("spec", ["random", "dsir", "dsdm:temperature=1"])
def test_what_is_drawn_depends_on_the_seed_and_a_small_draw_lies_in_a_large_one(spec):
    small, large = select(spec, count=9).kept, select(spec, count=30).kept
    assert large[:9].tolist() == small.tolist()
    assert select(spec, evidence(seed=1), count=30).kept.tolist() != large.tolist()


@pytest.mark.parametrize("spec", ["bm25", "classifier", "embedding", "dsir", "embedding:neighbours=1"])
def test_planted_target_like_examples_are_taken_first(spec):
    selected = select(spec, count=int(TARGET_LIKE.sum()))
    assert TARGET_LIKE[selected.kept].all()


def test_dsir_weights_are_those_of_a_dense_computation():
    rng = np.random.default_rng(1)
    pool, targets = texts(rng, TARGET_LIKE), {"a": texts(rng, np.ones(6)), "b": texts(rng, np.zeros(4))}
    found = dsir.log_weights(pool, targets, {"a": 0.75, "b": 0.25}, buckets=64)

    def distribution(counts):
        return (counts.sum(axis=0) + 1) / (counts.sum() + 64)

    counts = {name: hashed_ngrams(own, 64).toarray() for name, own in {"pool": pool, **targets}.items()}
    p = 0.75 * distribution(counts["a"]) + 0.25 * distribution(counts["b"])
    q = distribution(counts["pool"])
    expected = [sum(c * np.log(p[j] / q[j]) for j, c in enumerate(row)) for row in counts["pool"]]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_hashed_ngrams_count_words_and_pairs():
    counts = hashed_ngrams(["One two one two", "", "two, ONE"], 2**20).toarray()
    assert counts.sum(axis=1).tolist() == [4 + 3, 0, 3 + 2]
    assert sorted(counts[0][counts[0] > 0].tolist()) == [1, 2, 2, 2]  # two one; one, two, one two


def test_gumbel_top_k_draws_in_proportion_to_the_softmax():
    values, drawn = np.log(np.array([6.0, 3.0, 1.0, 2.0])), np.zeros(4)
    for seed in range(3000):
        given = Evidence(list("abcd"), seed=seed)
        keys = values + sampling.gumbel(given, "draw")
        drawn[np.argmax(keys)] += 1
    # Binomial(3000, 1/2) has sd 27; five of them.
    np.testing.assert_allclose(drawn, 3000 * np.array([6, 3, 1, 2]) / 12, atol=140)


def test_a_low_temperature_takes_the_top_and_a_high_one_anybody():
    top = select("dsdm", count=20).kept
    np.testing.assert_array_equal(select("dsdm:temperature=1e-9", count=20).kept, top)
    mean = [
        np.mean(select(f"dsdm:temperature={t}", count=20).scores[select(f"dsdm:temperature={t}", count=20).kept])
        for t in (0, 1, 100)
    ]
    assert mean[0] > mean[1] > mean[2]
    assert set(select("dsdm:temperature=100", count=20).kept) != set(top)


def test_loss_bands_are_around_their_quantile():
    losses = facts()["loss"]
    order = np.argsort(losses)
    assert set(select("loss:band=low", count=10).kept) == set(order[:10])
    assert set(select("loss:band=high", count=10).kept) == set(order[-10:])
    assert set(select("loss", count=10).kept) == set(order[40:50])
    assert set(select("loss:centre=0.25", count=4).kept) <= set(order[20:25])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("loss:band=low,centre=0.9", "band=low and centre=0.9 are two places"),
        ("loss:band=middle,centre=0.9", "band=middle and centre=0.9 are two places"),
        ("loss:band=low,centre=0.5", "band=low and centre=0.5 are two places"),
        ("loss:centre=-1", r"centre=-1.0 is outside \[0, 1\]"),
    ],
)
def test_two_places_for_a_band_of_losses_and_places_that_do_not_exist_are_refused(spec, message):
    with pytest.raises(InputError, match=message):
        select(spec, count=4)
    same = [select(f"loss{written}", count=10).kept.tolist() for written in ("", ":band=middle,centre=0.5")]
    assert same[0] == same[1]


def test_a_method_by_several_targets_takes_their_weighted_mean():
    given = evidence(gradient_cosines={"a": np.arange(NUM) * 1000.0, "b": -np.arange(NUM) * 1.0})
    given.weights = {"a": 1, "b": 2}
    assert select_by("gradient_cosine", given, count=2).kept.tolist() == [0, 1]


HINDI = ["कि", "की", "के", "को"]
SCRIPTS = {
    "Hindi": [f"{a}{b}ल" for a in HINDI for b in HINDI],
    "Chinese": list("天地玄黃宇宙洪荒日月盈昃"),
    "accents": ["cafe\u0301", "noe\u0308l", "re\u0301sume\u0301", "nai\u0308ve", "fac\u0327ade", "ro\u0302le"],
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("method", ["bm25", "dsir:temperature=0", "classifier"])
def test_texts_of_any_script_are_compared_by_their_words(script, method):
    """Both kinds are made of the same signs; only whole words tell them apart."""
    rng, words, joint = np.random.default_rng(0), SCRIPTS[script], "" if script == "Chinese" else " "
    halves = words[::2], words[1::2]

    def text(kind, count=12):
        return joint.join(rng.choice(halves[kind], count))

    kinds = np.arange(40) % 2
    given = Evidence(
        [f"e{i:02d}" for i in range(40)],
        texts=[text(kind) for kind in kinds],
        target_texts={"t": [text(0) for _ in range(10)]},
    )
    assert set(kinds[select(method, given, count=20).kept]) == {0}
