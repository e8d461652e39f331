"""The verdict on tables whose answer is known: decided, too few recipes, too much noise, hopeless; on older studies."""

import numpy as np
import pytest

from thresher.artifacts import build
from thresher.errors import InputError
from thresher.selection.statistics.further import MANY_SEEDS, Costs
from thresher.selection.statistics.loss_table import LossTable
from thresher.selection.statistics.power import recipes_needed
from thresher.selection.statistics.verdict import Criterion
from thresher.studies.experiments.judged_size import judge_size
from thresher.studies.experiments.trust import judge_study, summary

COSTS = Costs(reference="10M", amounts={"1M": 1e12, "10M": 1e13}, in_flops=True, seconds={"1M": 60.0, "10M": 600.0})
LOSS = Criterion(num_resamples=300)


def table(num_recipes, noise=0.0, agreement=1.0, seeds=2, sets=("a", "b"), seed=0):
    """Losses of two sizes: normal, correlated by `agreement`, with `noise` of seeds in units of the recipes' spread."""
    rng = np.random.default_rng(seed)
    true = {name: rng.normal(size=num_recipes) for name in sets}
    sizes = {}
    for size, rho in (("1M", agreement), ("10M", 1.0)):
        own = {name: rho * true[name] + (1 - rho**2) ** 0.5 * rng.normal(size=num_recipes) for name in sets}
        sizes[size] = {
            0.0: {
                f"r{i}": {name: seeded(10 + own[name][i] + noise * rng.normal(size=seeds)) for name in sets}
                for i in range(num_recipes)
            }
        }
    return LossTable(sizes)


def seeded(losses):
    return {f"{seed:02d}": float(loss) for seed, loss in enumerate(losses)}


def judged(losses, criterion=LOSS, costs=COSTS):
    return summary({"1M": judge_size(losses, "1M", "10M", criterion)}, "10M", costs=costs, criterion=criterion)[
        "verdict"
    ]


def test_a_proxy_that_holds_needs_nothing_further_and_its_regret_is_said():
    found = judged(table(40, noise=0.001))
    assert found["smallest"] == "1M" and found["further"] == ()
    assert found["sentence"].startswith("The smallest proxy with decision accuracy of at least 0.9 is 1M")
    assert "at 0.1 of the reference's cost. Taking its best costs 0.000 [0.000," in found["sentence"]


def test_too_few_recipes_that_agree_need_more_of_them_and_no_seeds():
    found = judged(table(12, noise=0.001))
    (plan,) = found["further"]
    assert plan["holds"] and plan["more_recipes"] and not plan["more_seeds"]
    n = plan["num_recipes"]
    assert recipes_needed("decision_accuracy", 0.9) <= n < 40
    assert plan["proxy_runs"] == plan["reference_runs"] == 2 * (n - 12)
    assert plan["cost"] == pytest.approx(2 * (n - 12) * 1.1)
    assert plan["flops"] == pytest.approx(plan["cost"] * 1e13)
    assert plan["seconds"] == pytest.approx(2 * (n - 12) * 660)
    assert found["sentence"].startswith("Too few recipes to tell: with 12")
    runs = 2 * (n - 12)
    assert (
        f"About {n} recipes (more runs: {runs} at 1M, {runs} at the reference; {plan['cost']:.3g} of"
        in (found["sentence"])
    )
    assert "FLOPs" in found["sentence"] and "h as measured" in found["sentence"]


def test_where_noise_hides_the_order_seeds_are_asked_for_and_as_many_make_it_hold():
    losses = table(60, noise=0.45)
    found = judged(losses)
    (rung,) = found["rungs"]
    assert found["smallest"] is None and rung["ceiling"] < 0.92 < rung["highest_ceiling"]
    plan = next(plan for plan in found["further"] if not plan["more_recipes"])
    assert plan["num_recipes"] == 60 and plan["more_seeds"] and plan["proxy_seeds"] > 2
    orders = [one["cost"] for one in found["further"]]
    assert orders == sorted(orders)
    assert (
        f"{plan['proxy_seeds']} seeds of each at 1M and {plan['reference_seeds']} at the reference" in found["sentence"]
    )
    # With that many seeds, and half as many again for luck, it holds.
    more = judged(table(60, noise=0.45, seeds=max(plan["proxy_seeds"], plan["reference_seeds"]) * 3 // 2))
    assert more["smallest"] == "1M"


def test_seeds_are_cheaper_where_proxies_are_and_the_search_follows_the_cost():
    losses = table(60, noise=0.45)
    dear = Costs(reference="10M", amounts={"1M": 1.0, "10M": 1000.0})
    (first, *_), cheap = (judged(losses, costs=costs)["further"] for costs in (dear, COSTS))
    assert first["proxy_seeds"] >= first["reference_seeds"] and first["flops"] is None and first["seconds"] is None
    assert cheap[0]["cost"] <= min(plan["cost"] for plan in cheap)


def test_where_recipes_do_not_differ_nothing_helps_and_it_is_said():
    rng = np.random.default_rng(3)
    flat = {size: {0.0: {f"r{i}": {"a": seeded(10 + rng.normal(size=4))} for i in range(40)}} for size in ("1M", "10M")}
    found = judged(LossTable(flat))
    (rung,) = found["rungs"]
    assert rung["decided"] == "fails" and rung["highest_ceiling"] < 0.9 and found["further"] == ()
    assert "Larger proxies are needed. No number of seeds would: with 32 of each, noise keeps" in found["sentence"]
    assert f"at {rung['highest_ceiling']:.3f}." in found["sentence"]


def test_a_proxy_that_errs_without_noise_is_told_to_fail_by_more_recipes():
    found = judged(table(8, noise=0.001, agreement=0.75))
    (rung,), (plan,) = found["rungs"], found["further"]
    assert rung["decided"] == "open" and rung["overall"]["value"] < 0.9
    assert not plan["holds"] and plan["num_recipes"] > 8 and plan["proxy_seeds"] == 2
    assert "would decide, against every proxy" in found["sentence"] and "No number of seeds" not in found["sentence"]


def test_a_proxy_that_noise_fails_may_be_rescued_by_seeds():
    found = judged(table(120, noise=0.7))
    assert found["rungs"][0]["decided"] == "fails" and found["further"][0]["more_seeds"]
    assert all(plan["proxy_seeds"] <= MANY_SEEDS for plan in found["further"])
    assert (
        found["sentence"].startswith("No proxy can be trusted") and "Noise may hide that one holds" in found["sentence"]
    )


def test_of_clear_accuracy_it_is_said_how_many_pairs_were_told_apart():
    found = judged(table(40, noise=0.1), Criterion("clear_accuracy", num_resamples=100))
    apart, whole = found["rungs"][0]["pairs"]
    assert whole == 2 * 40 * 39 // 2 and 0.7 * whole < apart < whole
    assert f"on the {apart:,} of {whole:,} pairs that the reference tells apart" in found["sentence"]


def test_costs_that_are_not_known_leave_the_number_of_runs():
    (plan,) = judged(table(12, noise=0.001), costs=None)["further"]
    assert plan["cost"] is None and plan["flops"] is None
    half = Costs(reference="10M", amounts={"10M": 1.0}, seconds={"1M": 1.0})
    (plan,) = judged(table(12, noise=0.001), costs=half)["further"]
    assert plan["cost"] is None and plan["seconds"] is None


@pytest.fixture
def old(tmp_path):
    return written(tmp_path / "old", {})


def written(path, more):
    """A study of five recipes whose losses at both sizes are about 3 to 7, without what is new but for `more`."""
    rng, rows = np.random.default_rng(0), ["size,recipe,seed,test_set,loss,correct,flops"]
    rows += [
        f"{size},r{recipe},{seed},t,{3 + recipe + 0.1 * rng.normal()},0.5,1e9"
        for size in ("1M", "10M")
        for recipe in range(5)
        for seed in range(2)
    ]

    def write(draft):
        with draft.file("losses.csv") as file:
            file.write_text("\n".join(rows) + "\n")
        facts = {"reference": "10M", "proxies": ["1M"], "flops": {"1M": 1e9, "10M": 1e10}}
        return facts | {"test_sets": ["t"], "chance": {"t": 0.1}} | more

    return build(path, kind="transfer", config={}, seed=0, inputs={}, write=write)


def test_an_older_study_is_judged_by_its_losses(old):
    found = judge_study(old, Criterion(num_resamples=100))
    assert found["proxies"]["1M"]["judged"]["t"]["decision_accuracy"]["value"] == 1
    assert list(found["proxies"]["1M"]["signals"]["t"]["proxy"]["noise_from"]) == ["seeds"]
    assert found["learned_little"] is None


@pytest.mark.parametrize(("bigram", "is_said"), [(2.5, True), (3.5, False)])
def test_it_is_said_where_no_recipe_takes_the_reference_below_pairs_of_tokens(tmp_path, bigram, is_said):
    study = written(tmp_path / "study", {"ngrams": {"t": {"unigram": 5.0, "bigram": bigram}}})
    sentence = judge_study(study, Criterion(num_resamples=100))["learned_little"]
    assert (sentence is not None) == is_said
    assert not is_said or "even with the best recipe of each test set its held-out loss is" in sentence


def test_what_an_older_study_lacks_is_said_with_what_to_do(old):
    with pytest.raises(InputError, match=r"has no bits_per_byte of 't': .* once the study is run again"):
        judge_study(old, loss="bits_per_byte")
    with pytest.raises(InputError, match="has 1 steps up to 0, and 3 are to be averaged"):
        judge_study(old, Criterion(average=3))
