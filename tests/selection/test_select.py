"""Specs: how they are read, what a budget means along them, and what is refused."""

import numpy as np
import pytest

from tests.selection.cases import NUM, evidence, facts
from thresher.errors import InputError
from thresher.selection.choosing import select_by
from thresher.selection.evidence import Evidence
from thresher.selection.methods import METHODS, needs_of, stages_of


def test_a_spec_reads_as_its_stages():
    stages = stages_of("min-hash :0.7| dsdm: 0.2 , per-domain=0.3".replace("min-hash", "minhash"))
    assert [(stage.name, dict(stage.values)) for stage in stages] == [
        ("minhash", {"threshold": 0.7}),
        ("dsdm", {"fraction": 0.2, "per_domain": 0.3}),
    ]
    assert needs_of("semdedup | dsdm-diverse:tokens=6e5") == ["embeddings", "scores", "features"]


@pytest.mark.parametrize("name", METHODS)
def test_a_stage_written_out_reads_as_itself(name):
    values = {key: item.default for key, item in METHODS[name].own.items()}
    written = f"{name}:" + ",".join(f"{key}={value}" for key, value in values.items()) if values else name
    (stage,) = stages_of(written)
    assert dict(stage.values) == values and str(stage) == written


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "minhash | dsmd:0.2",
            "'minhash | dsmd:0.2', column 11: 'dsmd' is unknown (nearest: 'dsdm'); write one of: dsdm, ",
        ),
        ("dsdm:eps=0.1", "column 6: dsdm has no parameter 'eps'; dsdm takes fraction, count, tokens, per_domain"),
        ("exact:3", "column 7: '3' is no parameter=value; exact takes none"),
        ("dsdm | ", "column 7: a method is missing"),
        ("", "column 1: a method is missing"),
        ("dsdm:0.2,0.3", "column 10: '0.3' is no parameter=value"),
        ("dsdm:0.2,fraction=0.3", "column 10: fraction is given twice"),
        ("dsdm:fraction=much", "column 15: fraction='much' is no number"),
        ("dsdm:count=1.5", "column 12: count=1.5 is no whole number"),
        ("dsdm:count=inf", "column 12: count=inf is no whole number"),
        ("dsdm:fraction=nan", "column 15: fraction=nan"),
        ("loss:band=mid", "column 11: band=mid is unknown; write one of: low, middle, high"),
        ("dsdm:0.1:2", "column 10: a second ':'"),
        ("dsdm:fraction=1=2", "column 17: a second '='"),
        ("random:temperature=1", "random has no parameter 'temperature'"),
    ],
)
def test_a_spec_that_cannot_be_read_names_the_column(spec, message):
    with pytest.raises(InputError) as caught:
        stages_of(spec)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_fraction_is_of_the_tokens_of_the_whole_pool_also_behind_filters():
    given = evidence()
    lengths = given["lengths"]
    selected = select_by("classifier:0.5 | dsdm:0.2", given)
    total = round(0.2 * lengths.sum())
    assert total <= lengths[selected.kept].sum() < total + lengths[selected.kept[-1]]
    alike = evidence(lengths=None)
    stages = select_by("classifier:0.5 | dsdm:0.2", alike).stages
    assert [(row["from"], row["kept"]) for row in stages] == [(90, 45), (45, 18)]


def test_a_later_stage_chooses_among_what_the_earlier_ones_left():
    given = evidence(lengths=None)
    first = set(select_by("bm25:0.4", given).kept)
    both = select_by("bm25:0.4 | dsdm:0.1", given)
    assert set(both.kept) <= first
    among = sorted(first, key=lambda position: -both.scores[position])
    assert both.kept.tolist() == among[:9]
    assert both.reasons[:27] == ["dsdm: beyond the budget"] * 27
    assert both.reasons[27:] == ["bm25: beyond the budget"] * 54


def test_tokens_are_taken_in_order_until_they_are_reached_and_the_last_example_is_whole():
    given = evidence()
    order, lengths = select_by("dsdm:1.0", given).kept, given["lengths"]
    for tokens in (1, 4, 31, 200, int(lengths.sum())):
        kept = select_by("dsdm", given, tokens=tokens).kept
        np.testing.assert_array_equal(kept, order[: len(kept)])
        assert lengths[kept[:-1]].sum() < tokens <= lengths[kept].sum()


def test_a_cap_holds_for_each_domain_and_the_rest_is_in_order():
    given = evidence()
    selected = select_by("dsdm:count=20,per_domain=0.35", given)
    names = given.domains[selected.kept]
    assert selected.num_kept == 20 and max((names == name).sum() for name in set(names)) == 7
    order = select_by("dsdm:1.0", given).kept.tolist()
    seen, expected = {}, []
    for position in order:
        domain = given.domains[position]
        if seen.get(domain, 0) < 7 and len(expected) < 20:
            expected.append(position)
            seen[domain] = seen.get(domain, 0) + 1
    assert selected.kept.tolist() == expected
    assert "dsdm: its domain is full" in selected.reasons


def test_the_best_may_be_taken_more_than_once():
    given = evidence()
    plain = select_by("dsdm:count=12", given).kept.tolist()
    free = select_by("dsdm:count=12,repeats=3,repeat_cost=0", given)
    assert free.kept.tolist() == [position for position in plain[:4] for _ in range(3)]
    assert len(free.dropped) == NUM - 4
    some = select_by("dsdm:count=12,repeats=3,repeat_cost=0.4", given).kept.tolist()
    counts = [some.count(position) for position in plain]
    assert len(some) == 12 and max(counts) <= 3 and max(counts) > 1
    assert counts == sorted(counts, reverse=True)
    assert select_by("dsdm:count=12,repeats=3,repeat_cost=100", given).kept.tolist() == plain


def test_repeats_can_make_a_budget_larger_than_the_pool_s_best():
    given = evidence()
    total = int(given["lengths"].sum())
    kept = select_by(f"dsdm:tokens={total},repeats=2,repeat_cost=0", given).kept
    # A copy costs its tokens again.
    assert total <= given["lengths"][kept].sum() < total + 11 and len(set(kept.tolist())) < NUM


@pytest.mark.parametrize(
    ("spec", "budget", "message"),
    [
        ("dsdm", {"count": 91}, "91 examples asked for, but the pool has 90"),
        ("dsdm", {"tokens": 10_000}, "10000 tokens asked for, but the pool has 7"),
        ("dsdm:fraction=1.5", {}, r"fraction 1.5 is outside \(0, 1\]"),
        ("dsdm", {}, "pass exactly one of them"),
        ("dsdm:0.2", {"count": 3}, "count=3 and the fraction in 'dsdm:0.2' are two budgets"),
        ("dsdm", {"count": 3, "fraction": 0.1}, "pass exactly one of them"),
        ("dsdm", {"tokens": 0}, "tokens=0 keeps nothing"),
        ("minhash", {"fraction": 0.2}, "minhash, which drops and does not rank, so fraction=0.2 cannot be met"),
        ("dsdm | random:0.1", {}, "dsdm in 'dsdm | random:0.1' ranks and has no budget"),
        ("dsdm:0.5,repeats=2 | random:0.1", {}, "hands on an example more than once"),
        ("bm25:count=9 | dsdm:count=18", {}, "18 examples asked for, but the stages before left 9 of the pool's 90"),
        ("bm25:0.1 | dsdm:0.2", {}, "143 tokens asked for, but the stages before left 72; keep less, or loosen them"),
        ("bm25:0.1 | dsdm:tokens=300", {}, "300 tokens asked for, but the stages before left"),
        ("dsdm:count=45,per_domain=0.1", {}, "per_domain=0.1 only 13 of 45 examples can be kept"),
        ("dsdm:0.5,per_domain=0.1", {}, "per_domain=0.1 only 107 of 358 tokens can be kept"),
        ("dsdm:0.5,per_domain=0", {}, r"per_domain=0.0 is outside \(0, 1\]"),
        ("dsdm:0.5,temperature=-1", {}, "temperature=-1.0 must be 0 or more"),
        ("dsdm:0.5,repeats=0", {}, "repeats=0 keeps nothing"),
        ("loss:0.5,centre=2", {}, r"centre=2.0 is outside \[0, 1\]"),
        ("classifier:0.5,negatives=0", {}, "negatives=0.0"),
        ("embedding:0.5,neighbours=0", {}, "neighbours=0"),
        ("dsir:0.5,buckets=1", {}, "buckets=1"),
    ],
)
def test_budgets_and_parameters_that_cannot_be_met_are_refused_in_one_line(spec, budget, message):
    with pytest.raises(InputError, match=message) as caught:
        select_by(spec, evidence(), **budget)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "need"), [(name, need) for name, method in METHODS.items() for need in method.needs])
def test_missing_evidence_is_named_before_anything_is_computed(name, need):
    def fail():
        raise AssertionError("computed")

    others = dict.fromkeys(set(facts()) - {need}, fail)
    given = Evidence(["a", "b"], advice={need: "pass --that"}, **others)
    spec = f"{name} | random" if METHODS[name].kind == "filter" else name
    before = "semdedup" if need != "embeddings" else "exact"
    with pytest.raises(InputError, match=f"method '{name}' needs .*; pass --that") as caught:
        select_by(f"{before} | {spec}", given, fraction=0.5)
    assert "\n" not in str(caught.value)


def test_a_budget_in_tokens_needs_token_counts():
    with pytest.raises(InputError, match=r"a budget in tokens \(9\) needs token counts of the pool; pass --pool"):
        select_by("random", Evidence(["a", "b"], advice={"lengths": "pass --pool"}), tokens=9)


@pytest.mark.parametrize(
    ("changed", "spec", "message"),
    [
        ({"loss": np.full(NUM, np.nan)}, "loss", "the losses of the pool are not all finite"),
        ({"loss": np.ones(NUM)}, "loss", "all 90 examples have the same score 1; it ranks nothing"),
        ({"gradient_norms": np.zeros(NUM)}, "gradient_norm", "all 90 examples have the same score 0"),
        ({"scores": {"a": np.ones(NUM)}}, "dsdm", "all 90 scores for target 'a' are 1; they rank nothing"),
        ({"scores": {"a": np.full(NUM, np.inf)}}, "dsdm", "90 of 90 scores for target 'a' are not finite"),
        ({"scores": {}}, "dsdm", "no target among the target scores"),
        ({"target_texts": {"a": []}}, "bm25", "target 'a' has no examples"),
        ({"target_texts": {"a": ["nothing shared"]}}, "bm25", "all 90 scores for target 'a' are 0"),
        ({"texts": ["a"] * NUM, "target_texts": {"a": ["foo"]}}, "bm25", "no text of the pool has a word"),
        ({"texts": ["x"] * 3}, "exact", "3 texts of the pool for 90 examples"),
    ],
)
def test_evidence_that_ranks_nothing_is_refused(changed, spec, message):
    given = Evidence([f"{i}" for i in range(NUM)], **{"texts": ["foo bar"] * NUM, **changed})
    with pytest.raises(InputError, match=message) as caught:
        select_by(spec, given, **({} if spec == "exact" else {"fraction": 0.2}))
    assert "\n" not in str(caught.value)


def test_an_empty_pool_and_unknown_evidence_are_refused():
    with pytest.raises(InputError, match="the pool is empty"):
        Evidence([])
    with pytest.raises(InputError, match="'vibes' is no evidence; pass any of: scores, scored_by, loss"):
        Evidence(["a"], vibes=[1])


def test_every_draw_of_a_line_has_noise_of_its_own():
    given = np.random.default_rng(0).normal(size=(2, NUM))
    firsts = []
    for seed in range(200):
        facts = {"scores": {"t": given[0]}, "gradient_norms": given[1]}
        pool = Evidence([f"{row:03d}" for row in range(NUM)], seed=seed, **facts)
        kept = select_by("dsdm:count=20,temperature=1 | gradient_norm:count=5,temperature=1", pool).kept
        firsts.append(given[0][kept].mean())
    # The second score knows nothing of the first, so its draw takes nothing away of what the first one chose.
    handed = [
        given[0][select_by("dsdm:count=20,temperature=1", Evidence(pool.ids, seed=seed, scores={"t": given[0]})).kept]
        for seed in range(200)
    ]
    assert abs(np.mean(firsts) - np.mean(handed)) < 0.1


def test_a_cost_of_repeats_without_repeats_is_refused():
    with pytest.raises(InputError, match="repeat_cost changes nothing"):
        select_by("dsdm:count=5,repeat_cost=2", evidence())
