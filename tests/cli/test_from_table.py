"""`thresher study from-table` on tables as people have them: what they say does not hang on how they are written."""

import csv
import json
import random
from pathlib import Path

import pytest

from thresher.cli.main import main

FEW = ("--resamples", "100")


def rows(sizes=None, num_recipes=40, sets=("a", "b"), seeds=1, noise=0.0):
    """Losses of recipes worth something, of each size with a deviation of its own, and noise of seeds."""
    draw = random.Random(0)
    worth = [draw.gauss(0, 0.1) for _ in range(num_recipes)]
    table = []
    for size, deviation in (sizes or {"10M": 0.02, "100M": 0.002, "1B": 0.0}).items():
        for recipe in range(num_recipes):
            for name in sets:
                loss = 3 + worth[recipe] + draw.gauss(0, deviation)
                for seed in range(seeds):
                    row = {"size": size, "recipe": f"m{recipe}", "seed": f"s{seed}", "test_set": name}
                    table.append(row | {"loss": loss + draw.gauss(0, noise)})
    return table


@pytest.fixture
def write(tmp_path):
    def written(table, name="t.csv"):
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
        return str(tmp_path / name)

    return written


@pytest.fixture
def judge(capsys):
    def judged(*arguments):
        assert main(["study", "from-table", *map(str, arguments), *FEW, "--json"]) == 0
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return judged


@pytest.fixture
def refused(capsys):
    def refusal(*arguments):
        assert main(["study", "from-table", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    return refusal


def test_the_order_of_rows_changes_nothing(write, judge):
    table = rows(seeds=2, noise=0.03)
    for row in table:
        row["loss"] = round(row["loss"], 1)  # ties
    random.Random(1).shuffle(mixed := list(table))
    as_written, shuffled = (judge(write(own), "--seed-column", "seed") for own in (table, mixed))
    for found in (as_written, shuffled):
        for rung in found["verdict"]["rungs"]:
            rung["fails_on"].sort()  # in the order of the file
    assert as_written["proxies"] == shuffled["proxies"]
    assert as_written["verdict"] == shuffled["verdict"]


def test_the_smallest_proxy_is_that_which_costs_least_in_whatever_order_it_is_named(write, judge, refused):
    table = write(rows({"10M": 0.0001, "100M": 0.0, "1B": 0.0}))
    for proxies in (("10M", "100M"), ("100M", "10M")):
        assert judge(table, "--proxies", *proxies)["verdict"]["smallest"] == "10M"
    assert "is the reference '1B' itself" in refused(table, "--proxies", "1B", "10M")
    named = write(rows({"great": 0.0001, "small": 0.0001, "whole": 0.0}))
    message = refused(named, "--reference", "whole")
    assert "which of great, small is the smallest cannot be told; pass --costs" in message
    costs = ("--costs", "great=5", "small=2", "whole=100")
    assert judge(named, "--reference", "whole", *costs)["verdict"]["smallest"] == "small"
    assert "a run costs more than 0" in refused(named, "--reference", "whole", "--costs", "small=-2")
    assert "size 'smal' is unknown (nearest: 'small')" in refused(named, "--reference", "whole", "--costs", "smal=2")


def test_a_set_in_which_no_two_recipes_are_told_apart_is_no_half_of_a_clear_accuracy(write, judge, refused):
    table = rows({"10M": 0.0, "1B": 0.0}, seeds=3, noise=1e-6)
    for row in table:
        row["loss"] += {"s0": -50, "s1": 0, "s2": 50}[row["seed"]] * (row["test_set"] == "b")
    options = ("--seed-column", "seed", "--criterion", "clear_accuracy")
    found = judge(write(table), *options)
    judged = found["proxies"]["10M"]["judged"]
    assert found["proxies"]["10M"]["signals"]["b"]["pairs_apart"] == 0 and "clear_accuracy" not in judged["b"]
    assert judged["mean over sets"]["clear_accuracy"] == judged["a"]["clear_accuracy"]
    assert found["verdict"]["smallest"] == "10M" and found["verdict"]["rungs"][0]["ceiling"] > 0.99
    lost = [row for row in table if row["test_set"] == "b"]
    assert "tells no two recipes apart on any test set" in refused(write(lost), *options)


def test_seeds_are_known_by_their_names_where_steps_are_averaged(write, judge):
    draw, table = random.Random(3), []
    for row in rows({"10M": 0.02, "1B": 0.0}, num_recipes=20, sets=("a",), seeds=2, noise=0.05):
        table += [row | {"step": step, "loss": row["loss"] + draw.gauss(0, 0.001)} for step in (1, 2, 3, 4)]
    swapped = sorted(table, key=lambda row: (row["step"], (row["seed"] == "s0") == (row["step"] % 2 == 0)))
    options = ("--seed-column", "seed", "--step", "step", "--average", "4")
    first, second = (judge(write(own), *options)["proxies"]["10M"] for own in (table, swapped))
    assert first == second and first["signals"]["a"]["reference"]["noise"] > 0.005


def test_what_a_side_lacks_is_left_out_and_said_wherever_it_stands(write, judge, capsys):
    table = rows({"10M": 0.02, "1B": 0.0})
    for lacking in ("m0", "m39"):
        own = [row for row in table if (row["size"], row["recipe"], row["test_set"]) != ("10M", lacking, "b")]
        found = judge(write(own))["proxies"]["10M"]
        assert (found["num_recipes"], found["left_out"], found["left_out_sets"]) == (39, [lacking], [])
    few = [row for row in table if row["test_set"] == "a" or row["recipe"] in ("m0", "m1")]
    found = judge(write(few))["proxies"]["10M"]
    assert (found["num_recipes"], found["left_out_sets"]) == (40, ["b"])
    assert main(["study", "from-table", write(few), *FEW]) == 0
    assert "left out, for a side lacks what others have: 1 test sets (b)" in capsys.readouterr().out


def test_a_step_at_which_a_test_set_is_missing_is_not_the_one_to_compare_at(write, judge, capsys):
    table = [row | {"step": step} for row in rows({"10M": 0.02, "1B": 0.0}) for step in (100, 300)]
    table += [row | {"step": 310} for row in table if row["step"] == 300 and row["test_set"] == "a"]
    found = judge(write(table), "--step", "step")["proxies"]["10M"]
    assert found["num_sets"] == 2 and found["steps"] == {"proxy": 300, "reference": 300}
    assert main(["study", "from-table", write(table), "--step", "step", *FEW]) == 0
    assert "the reference is judged at step 300 of 310" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["so far", "of the whole run", None])
def test_a_checkpoint_costs_what_was_spent_up_to_it(write, judge, column):
    table = [row | {"step": step} for row in rows({"1B": 0.001, "2B": 0.0}) for step in (100, 500, 1000)]
    for row in table:
        whole = 1e15 * (2 if row["size"] == "2B" else 1)
        if column:
            row["flops"] = whole * row["step"] / 1000 if column == "so far" else whole
    found = judge(write(table), "--step", "step", "--proxies", "1B@100", "1B", "--threshold", "0.97")["verdict"]
    assert [rung["cost"] for rung in found["rungs"]] == pytest.approx([0.05, 0.5])
    assert found["further"][0]["flops"] == (pytest.approx(found["further"][0]["cost"] * 2e15) if column else None)


def test_columns_that_say_which_row_it_is_are_no_test_sets(write, judge):
    table = [
        {"index": row["recipe"][1:], "": 5, "a": row["loss"], "flops": size * 1e9}
        for size in (1, 10)
        for row in rows({"x": 0.02 / size}, sets=("a",))
    ]
    files = [f"{size}M={write(table[at : at + 40], f'{size}.csv')}" for size, at in ((1, 0), (10, 40))]
    found = judge(*files, "--recipe", "index", "--losses", "*")["proxies"]["1M"]
    assert list(found["judged"]) == ["a"]


def test_files_as_spreadsheets_write_them(tmp_path, write, judge):
    path = write(rows())
    text = Path(path).read_text()
    (tmp_path / "lr=0.1").mkdir()
    (tmp_path / "lr=0.1" / "t.csv").write_text(text, encoding="utf-8-sig")
    assert judge(tmp_path / "lr=0.1" / "t.csv") == judge(path)


def test_runs_that_agree_exactly_are_said_as_json_has_it(write, judge):
    table = rows({"10M": 0.0, "1B": 0.0}, seeds=2)
    table += [row | {"test_set": "zero", "loss": 0.0} for row in table if row["test_set"] == "a"]
    found = judge(write(table), "--seed-column", "seed")["proxies"]["10M"]
    assert found["signals"]["a"]["reference"]["ratio"] is None and found["signals"]["zero"]["reference"]["ratio"] == 0
    assert found["spread_over_noise"]["a"] is None
    one = [row for row in table if row["test_set"] == "a" or row["seed"] == "s0"]
    for own in (one, one[::-1]):
        assert list(judge(write(own), "--seed-column", "seed")["proxies"]["10M"]["spread_over_noise"]) == ["a"]


def test_in_a_weighted_mean_what_noise_allows_is_weighted_too(write, judge):
    table = rows({"10M": 0.02, "1B": 0.0}, num_recipes=20, seeds=2, noise=1e-3)
    draw = random.Random(4)
    for row in table:
        row["loss"] += draw.gauss(0, 0.4) * (row["test_set"] == "b")
    alike, weighted = (judge(write(table), "--seed-column", "seed", "--sets", sets) for sets in ("all", "weighted"))
    ceilings = [found["verdict"]["rungs"][0]["ceiling"] for found in (alike, weighted)]
    weight = weighted["proxies"]["10M"]["signals"]["b"]["weight"]
    assert 0 < weight < 0.5 and ceilings[0] + 0.05 < ceilings[1]
    assert alike["verdict"]["rungs"][0]["fails_on"] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("size,recipe,test_set,loss\n1M,x,a,3,0874\n", (), "line 2 has more fields than the header"),
        ("recipe,a\nx,3.1,\n", ("--size", "recipe", "--losses", "a"), "line 2 has more fields"),
        ("size,recipe,test_set,loss,loss\n1M,x,a,3,4\n", (), "has the column 'loss' twice"),
        ("size,recipe,test_set,loss\n1M,,a,3\n", (), "line 2: 'recipe' is empty"),
        ("size,recipe,test_set,loss\n,x,a,3\n", (), "line 2: 'size' is empty"),
        ("size;recipe;test_set;loss\n1M;x;a;3\n", (), "(fields are set apart by ';'; write commas)"),
        ("", (), "is empty; give a table"),
        ("size,recipe,test_set,loss\n1M,x,a,1\n1M,x,a,2\n", (), "name their column (--seed-column, --step)"),
        ("size,recipe,test_set,loss\n1M,x,a,1\n", ("--resamples", "1"), "1 resamples leave no 95 % interval"),
        ("size,recipe,test_set,loss\n1M,x,a,1\n", ("--top", "0"), "top 0: the best of k recipes"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path, refused, text, options, message):
    (tmp_path / "t.csv").write_text(text)
    assert message in refused(tmp_path / "t.csv", *options)


def test_costs_round_alike_in_whatever_order_the_rows_stand(write, judge):
    draw = random.Random(1)
    flops = {f"m{recipe}": draw.uniform(1e18, 9e18) for recipe in range(40)}
    table = [
        row | {"step": step, "flops": flops[row["recipe"]] * (10 if row["size"] == "1B" else 1)}
        for row in rows({"10M": 0.02, "1B": 0.0}, seeds=2, noise=0.01)
        for step in (500, 1000)
    ]
    costs = []
    for number in range(4):
        draw.shuffle(table)
        options = ("--step", "step", "--seed-column", "seed", "--proxies", "10M@500", "10M", "--reference", "1B")
        found = judge(write(table, f"{number}.csv"), *options)
        costs.append({rung["size"]: rung["cost"] for rung in found["verdict"]["rungs"]})
    assert all(cost == {"10M@500": pytest.approx(0.05), "10M": pytest.approx(0.1)} for cost in costs)
