"""Judging proxies: against scipy and counting by hand, from tables of either shape, on published figures."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from tests.real_data import DATA, needs_data
from thresher.cli.main import main
from thresher.errors import InputError
from thresher.selection.statistics.decisions import MEAN, judge, spread_over_noise
from thresher.selection.statistics.further import Costs, Evidence
from thresher.selection.statistics.loss_files import LossColumns, read_losses
from thresher.selection.statistics.loss_table import common
from thresher.selection.statistics.power import Resamples, best_low, recipes_needed
from thresher.selection.statistics.verdict import Criterion, verdict


def noisy(num_recipes=12, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    reference = {name: rng.normal(size=num_recipes).tolist() for name in ("a", "b")}
    proxy = {name: (np.array(y) + noise * rng.normal(size=num_recipes)).tolist() for name, y in reference.items()}
    return proxy, reference


def test_measures_are_those_of_scipy_and_of_counting_by_hand():
    proxy, reference = noisy()
    proxy["a"][3] = proxy["a"][5]  # a tie on one side
    found = judge(proxy, reference, num_resamples=0)
    for name in ("a", "b"):
        x, y = np.array(proxy[name]), np.array(reference[name])
        assert found[name]["r2"].value == pytest.approx(stats.pearsonr(x, y).statistic ** 2)
        assert found[name]["spearman"].value == pytest.approx(stats.spearmanr(x, y).statistic)
        pairs = [np.sign(x[i] - x[j]) == np.sign(y[i] - y[j]) for i, j in itertools.combinations(range(12), 2)]
        assert found[name]["decision_accuracy"].value == pytest.approx(np.mean(pairs))
        best = np.argsort(x, kind="stable")[:3]
        assert found[name]["regret@3"].value == pytest.approx(y[best].min() - y.min())
        assert found[name]["regret@1"].value == pytest.approx(y[best[0]] - y.min())
    assert found[MEAN]["r2"].value == pytest.approx(np.mean([found[name]["r2"].value for name in ("a", "b")]))


def test_resamples_are_those_of_drawing_recipes():
    """The weighted formulas equal the plain ones on the drawn recipes, a recipe against its own copy left out, and the
    unseen recipe as pairs that are half in order, as correlations with a share of nothing, as a choice."""
    from thresher.selection.statistics.decisions import _measures

    proxy, reference = noisy()
    x, y = np.array(proxy["a"]), np.array(reference["a"])
    weights = np.array([[2, 0, 1, 3, 0, 1, 1, 1, 0, 1, 1, 0]], dtype=float)
    drawn = np.repeat(np.arange(12), weights[0].astype(int))
    order = np.argsort(x, kind="stable")
    ahead = int(np.flatnonzero(weights[0, order])[1])  # the second of those drawn
    draw = Resamples(weights, np.array([2.0]), np.array([[order[ahead], 4]]), np.zeros((1, 12)))
    found = _measures(x, y, draw, (1, 3))
    pearson, spearman = stats.pearsonr(x[drawn], y[drawn]).statistic, stats.spearmanr(x[drawn], y[drawn]).statistic
    assert found["r2"][1, 0] == pytest.approx(pearson**2)
    assert found["spearman"][1, 0] == pytest.approx(spearman)
    assert found["r2"][0, 0] == pytest.approx((pearson * 11 / 13) ** 2)
    assert found["spearman"][0, 0] == pytest.approx(spearman * 11 / 13)
    pairs = [(i, j) for i, j in itertools.combinations(drawn, 2) if i != j]
    agreed = [np.sign(x[i] - x[j]) == np.sign(y[i] - y[j]) for i, j in pairs]
    assert found["decision_accuracy"][1, 0] == pytest.approx(np.mean(agreed))
    assert found["decision_accuracy"][0, 0] == pytest.approx(np.mean([*agreed, *[0.5] * 2 * 11]))
    assert found["regret@1"][1, 0] == pytest.approx(y[drawn[x[drawn].argmin()]] - y[drawn].min())
    taken = order[[i for i in range(12) if weights[0, order[i]]]]
    best = min(y[drawn].min(), y[4])
    assert found["regret@1"][0, 0] == pytest.approx(y[taken[0]] - best)  # the unseen one is second at the proxy
    assert found["regret@3"][0, 0] == pytest.approx(min(y[taken[0]], y[4], y[taken[1]]) - best)


def test_a_perfect_proxy_keeps_room_for_a_recipe_unseen_and_order_does_not_matter():
    _, reference = noisy()
    perfect = judge(reference, reference)[MEAN]
    assert perfect["spearman"].value == perfect["spearman"].high == perfect["decision_accuracy"].high == 1
    assert perfect["decision_accuracy"].low == pytest.approx(best_low("decision_accuracy", 12), abs=0.02)
    assert perfect["spearman"].low == pytest.approx(best_low("spearman", 12), abs=1e-9)
    assert perfect["regret@1"].value == 0 < perfect["regret@1"].high
    reverse = judge({name: [-v for v in y] for name, y in reference.items()}, reference)[MEAN]
    assert reverse["spearman"].low == pytest.approx(-1) and reverse["decision_accuracy"].low == 0
    assert reverse["decision_accuracy"].high == pytest.approx(1 - perfect["decision_accuracy"].low, abs=0.03)
    assert reverse["r2"].value == pytest.approx(1) and reverse["regret@1"].high > 0
    order = np.random.default_rng(1).permutation(12)
    proxy, reference = noisy()
    shuffled = judge(*({n: [v[i] for i in order] for n, v in side.items()} for side in (proxy, reference)))
    for measure, estimate in judge(proxy, reference)[MEAN].items():
        assert shuffled[MEAN][measure].value == pytest.approx(estimate.value)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Recipes drawn from a population whose Pearson correlation is known."""
    truth, hits = 0.9**2, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=40)
        x = 0.9 * y + np.sqrt(1 - 0.81) * rng.normal(size=40)
        estimate = judge({"a": x}, {"a": y}, num_resamples=200, seed=seed)["a"]["r2"]
        hits += estimate.low <= truth <= estimate.high
    assert 50 <= hits <= 60


def test_spread_over_noise_is_the_ratio_of_deviations():
    found = spread_over_noise({"a": [[1.0, 1.2], [2.0, 2.2], [3.0, 3.2]]})
    assert found["a"] == pytest.approx(1.0 / np.sqrt(0.02))
    with pytest.raises(InputError, match="one seed"):
        spread_over_noise({"a": [[1.0], [2.0]]})


@pytest.mark.parametrize(
    ("proxy", "reference", "message"),
    [
        ({"a": [1, 2]}, {"a": [1, 2]}, "3 or more"),
        ({"a": [1, 2, 3]}, {"b": [1, 2, 3]}, "differ"),
        ({"a": [1, 2, np.nan]}, {"a": [1, 2, 3]}, "not finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(proxy, reference, message):
    with pytest.raises(InputError, match=message):
        judge(proxy, reference)


def test_the_smallest_proxy_that_holds_is_named_with_where_it_fails():
    _, reference = noisy(40)
    poor = {"a": reference["a"], "b": reference["b"][::-1]}
    judged = {"1M": judge(poor, reference), "10M": judge(reference, reference)}
    evidence = dict.fromkeys(judged, Evidence(num_recipes=40))
    costs = Costs(reference="100M", amounts={"1M": 0.1, "10M": 1.0, "100M": 10.0})
    found = verdict(judged, evidence, Criterion(threshold=0.9), costs)
    assert [rung.decided for rung in found.rungs] == ["fails", "holds"] and found.smallest.size == "10M"
    assert found.rungs[0].fails_on == ["b"] and found.can_tell
    assert "10M" in found.sentence() and "0.1 of the reference's cost" in found.sentence()
    none = verdict({"1M": judged["1M"]}, evidence)
    assert "No proxy" in none.sentence() and none.can_tell


def test_few_recipes_that_agree_make_no_verdict_and_it_is_said_what_would():
    proxy = {"a": [1.0, 2.0, 3.0, 4.0]}
    few = verdict({"1M": judge(proxy, proxy)}, {"1M": Evidence(num_recipes=4)}, units="arms")
    assert few.smallest is None and not few.can_tell and few.rungs[0].decided == "open"
    assert few.sentence().startswith("Too few arms to tell: with 4 even full agreement")
    assert "by chance in 1 of 24" in few.sentence() and f"About {recipes_needed('decision_accuracy', 0.9)} arms" in (
        few.sentence()
    )
    # Enough recipes, with the threshold inside the interval.
    proxy, reference = noisy(40, noise=0.12)
    found = verdict({"1M": judge(proxy, reference)}, {"1M": Evidence(num_recipes=40)})
    (rung,) = found.rungs
    (plan,) = found.further
    assert rung.decided == "open" and rung.can_tell and plan.num_recipes > 40
    assert "leaves it open" in found.sentence() and f"About {plan.num_recipes:,} recipes" in found.sentence()


LONG = """size,recipe,test_set,step,loss
1M,x,a,10,3.0
1M,x,b,10,3.1
1M,y,a,10,2.0
1M,y,b,10,2.1
1M,z,a,10,1.0
1M,z,b,10,1.1
1M,x,a,20,2.5
10M,x,a,20,2.0
10M,x,b,20,2.0
10M,y,a,20,1.5
10M,y,b,20,2.5
10M,z,a,20,1.0
10M,z,b,20,1.0
"""


def test_long_tables_wide_tables_and_a_file_a_size_say_the_same(tmp_path, capsys):
    (tmp_path / "long.csv").write_text(LONG)
    for size, rows in {
        "1M": ("x,3.0,3.1", "y,2.0,2.1", "z,1.0,1.1"),
        "10M": ("x,2.0,2.0", "y,1.5,2.5", "z,1,1"),
    }.items():
        (tmp_path / f"{size}.csv").write_text("\n".join(["recipe,loss_a,loss_b", *rows]) + "\n")
    results = []
    for arguments in (
        [str(tmp_path / "long.csv"), "--step", "step"],
        [f"{size}={tmp_path / f'{size}.csv'}" for size in ("1M", "10M")] + ["--losses", "loss_*"],
    ):
        assert main(["study", "from-table", *arguments, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    long, wide = (result["proxies"]["1M"]["judged"] for result in results)
    assert long[MEAN] == wide[MEAN] and results[0]["reference"] == "10M"
    assert long["a"]["decision_accuracy"]["value"] == 1
    # A row at step 20 shows that what is judged at 10 is half of a run.
    assert [result["verdict"]["rungs"][0]["cost"] for result in results] == pytest.approx([0.05, 0.1])


def test_only_recipes_that_one_size_lacks_are_left_out(tmp_path, capsys):
    rows = {"1M": "vwxyz", "10M": "uxyz"}
    lines = [f"{size},{recipe},a,{2 + n / 10}" for size, own in rows.items() for n, recipe in enumerate(own)]
    (tmp_path / "t.csv").write_text("\n".join(["size,recipe,test_set,loss", *lines]) + "\n")
    assert main(["study", "from-table", str(tmp_path / "t.csv"), "--json"]) == 0
    (proxy,) = json.loads(capsys.readouterr().out)["proxies"].values()
    assert proxy["left_out"] == ["u", "v", "w"] and proxy["num_recipes"] == 3


def test_the_last_step_that_all_recipes_have_is_compared_and_seeds_are_averaged(tmp_path):
    (tmp_path / "t.csv").write_text(LONG)
    table = read_losses([tmp_path / "t.csv"], LossColumns(step="step"))
    assert table.last_step("1M") == 10 and table.at("1M")["x"]["a"] == [3.0]
    assert common(table.at("1M"), table.at("10M")) == (["x", "y", "z"], ["a", "b"])
    with pytest.raises(InputError, match="no step 5"):
        table.at("1M", 5)
    with pytest.raises(InputError, match="sizes are 1M, 10M"):
        table.at("2M")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,recipe,test_set\n1M,x,a\n", "no column 'loss'"),
        ("size,recipe,test_set,loss\n1M,x,a,many\n", "line 2: 'many'"),
        ("size,recipe,test_set,loss\n1M,x,a,nan\n", "line 2: 'nan'"),
        ("size,recipe,test_set,loss\n1M,x,a,1\n1M,x,a,2\n", "line 3: 'a' of 'x' is there twice"),
        ("size,recipe,test_set,loss\n1M,x,a\n", "line 2 has fewer fields"),
        ("size,recipe,test_set,loss\n", "no rows"),
    ],
)
def test_broken_tables_are_refused_by_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_losses([tmp_path / "t.csv"], LossColumns())


def run(capsys, *arguments):
    assert main(["study", "from-table", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["proxies"]


@pytest.mark.shared_data
@needs_data
def test_published_figures_of_regmix(capsys):
    """1M against 60M over the same 256 mixtures: mean over 13 sets."""
    tables = DATA / "tables" / "regmix"
    files = [f"{size}={tables / f'test_pile_loss_{size.lower()}.csv'}" for size in ("1M", "60M")]
    found = run(capsys, *files, "--recipe", "index", "--losses", "metric/*")["1M"]["judged"][MEAN]
    assert round(found["spearman"]["value"], 4) == 0.9937
    assert round(found["r2"]["value"], 4) == 0.9838
    assert round(found["decision_accuracy"]["value"], 4) == 0.9710


@pytest.mark.slow
@pytest.mark.shared_data
@needs_data
def test_published_figures_of_mixing_laws(capsys):
    """26 mixtures, 22 sets, against 410M at step 30,000."""
    table = DATA / "tables" / "mixing_laws_5mix.csv"
    columns = ["--size", "model", "--recipe", "mixture", "--step", "step", "--test-set", "validation_set"]
    chosen = ["--at-step", "30000", "--reference", "410M", "--proxies", "70M", "160M", "305M", "410M@20000"]
    found = run(capsys, table, *columns, *chosen)
    means = {size: proxy["judged"][MEAN] for size, proxy in found.items()}
    assert [round(means[size]["spearman"]["value"], 4) for size in ("70M", "160M", "305M")] == [0.9605, 0.9783, 0.9777]
    accuracies = [round(means[size]["decision_accuracy"]["value"], 3) for size in ("70M", "160M", "305M")]
    assert accuracies == [0.934, 0.954, 0.953]
    assert round(means["410M@20000"]["spearman"]["value"], 3) == 0.943
