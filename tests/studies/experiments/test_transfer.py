"""A small-to-large study end to end on digits: wrong labels as recipes that every size must find worse."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from tests.attribution.cases import digits
from thresher.cli.main import main
from thresher.errors import InputError
from thresher.studies.experiments.recipes import draw_recipe, parse_recipes
from thresher.studies.experiments.training_sets import draw_members
from thresher.studies.selections.sources import Sources
from thresher.workspace import Workspace

RECIPES = ("everything=all", "one=class:0+1", "half=class:0+1+2+3+4", "without=remove:class:0+1+2", "odd=domain:d1")
OPTIONS = ("--sizes", "mlp-4x1", "mlp-16x1", "--examples", "120", "--epochs", "8", "--batch-size", "16",
           "--learning-rate", "0.05", "--resamples", "100", "--workers", "1", "--device", "cpu", "--json")  # fmt: skip


@pytest.fixture
def data(tmp_path):
    digits(tmp_path / "pool", slice(0, 300))
    digits(tmp_path / "even", slice(300, 420))
    digits(tmp_path / "low", slice(300, 420), classes=5)
    return tmp_path


def study(data, *more):
    return main([*command(data), "--out", str(data / "out"), *more])


def command(data):
    sets = ("--test-sets", f"all={data / 'even'}", f"low={data / 'low'}")
    return ["study", "transfer", "--pool", str(data / "pool"), *sets, "--recipes", *RECIPES, *OPTIONS]


def test_a_study_judges_the_small_size_and_a_second_call_trains_nothing(data, capsys, monkeypatch):
    assert study(data) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["reference"] == "mlp-16x1" and result["num_runs"] == 5 * 2 * 2
    judged = result["proxies"]["mlp-4x1"]["judged"]
    assert judged["all"]["spearman"]["value"] > 0.5
    assert 0 < result["verdict"]["rungs"][0]["cost"] < 1
    assert set(result["proxies"]["mlp-4x1"]["spread_over_noise"]) == {"all", "low"}
    samples = pq.read_table(f"{result['path']}/per_sample.parquet")
    assert samples.num_rows == 120 + 120 and 0 <= min(samples["r2"].to_pylist()) <= max(samples["r2"].to_pylist()) <= 1
    assert sum(result["per_sample"]["mlp-4x1"]["all"]["counts"]) == 120
    with open(f"{result['path']}/scatter-mlp-4x1.svg", encoding="utf-8") as file:
        assert file.read().startswith("<svg xmlns")
    monkeypatch.setattr("thresher.proxies.trials.run_jobs", lambda work, jobs, **options: iter(jobs and [1 / 0]))
    assert study(data) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == result["verdict"]


def test_its_losses_are_a_table_that_from_table_judges_alike(data, capsys):
    assert study(data) == 0
    result = json.loads(capsys.readouterr().out)
    table = f"{result['path']}/losses.csv"
    command = ["study", "from-table", table, "--seed-column", "seed", "--reference", "mlp-16x1", "--resamples", "100"]
    assert main([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    # The column of steps is not named here.
    ours, theirs = (
        {key: value for key, value in found["proxies"]["mlp-4x1"].items() if "steps" not in key}
        for found in (again, result)
    )
    assert ours == theirs
    assert (
        main(["study", "verdict", result["path"], "--resamples", "100", "--criterion", "r2", "--threshold", ".01"]) == 0
    )
    assert "mlp-4x1" in capsys.readouterr().out
    assert main(["study", "verdict", result["path"], "--resamples", "100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == result["verdict"]
    assert main(["study", "verdict", str(data / "pool")]) == 2


def test_more_last_steps_than_a_training_has_are_refused_before_any_is_trained(data, capsys, monkeypatch):
    monkeypatch.setattr("thresher.proxies.trials.run_jobs", lambda *_, **__: pytest.fail("trained"))
    assert study(data, "--average", "70") == 2  # 8 epochs of 120 images in batches of 16 are 60 steps
    assert "average=70 of a training of 60 steps; pass at most that many" in capsys.readouterr().err
    assert not (data / "out").exists()


def test_the_last_steps_are_averaged_on_both_sides_and_meet_in_one_table(data, capsys):
    assert study(data, "--average", "3", "--seeds", "1", "--sets", "weighted") == 0
    result = json.loads(capsys.readouterr().out)
    rows = _rows(result["path"])
    steps = sorted({int(row["step"]) for row in rows})
    assert len(steps) == 3 and len(rows) == 5 * 2 * 2 * 3 and steps[0] >= 0.9 * steps[-1]
    proxy = result["proxies"]["mlp-4x1"]
    signal = proxy["signals"]["all"]
    assert signal["reference"]["source"] == "checkpoints" and list(signal["proxy"]["noise_from"]) == ["checkpoints"]
    weights = [proxy["signals"][name]["weight"] for name in ("all", "low")]
    assert weights == [proxy["signals"][name]["reference"]["own_share"] for name in ("all", "low")]
    mean = np.average([proxy["judged"][name]["r2"]["value"] for name in ("all", "low")], weights=weights)
    assert proxy["judged"]["mean over sets"]["r2"]["value"] == pytest.approx(mean)
    assert set(proxy["at_last_step"]) == set(proxy["judged"]["mean over sets"])
    own = [[float(row["loss"]) for row in rows if (row["size"], row["recipe"], row["test_set"]) == (size, name, "all")]
           for size in ("mlp-4x1", "mlp-16x1") for name in ("everything", "one", "half", "without", "odd")]  # fmt: skip
    x, y = np.mean(own, axis=1).reshape(2, 5)
    assert proxy["judged"]["all"]["spearman"]["value"] == pytest.approx(spearmanr(x, y).statistic)
    again = ["study", "from-table", f"{result['path']}/losses.csv", "--seed-column", "seed", "--step", "step",
             "--average", "3", "--reference", "mlp-16x1", "--resamples", "100", "--sets", "weighted",
             "--json"]  # fmt: skip
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out)["proxies"] == result["proxies"]
    assert main(["study", "verdict", result["path"], "--resamples", "100", "--average", "2"]) == 0
    assert main(["study", "verdict", result["path"], "--average", "4"]) == 2
    assert "has 3 steps up to" in capsys.readouterr().err
    assert main(["study", "verdict", result["path"], "--loss", "bits_per_byte"]) == 2
    assert "has no bits_per_byte of 'all': of images and classes there is none" in capsys.readouterr().err


def test_training_sets_hold_what_they_say(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 200))
    sources = Sources(workspace=Workspace(tmp_path / "space", "cpu"), pool=pool)
    made = {one.name: draw_recipe(one, 150, sources, seed=3).positions for one in parse_recipes(RECIPES)}
    assert all(len(positions) == 150 for positions in made.values())
    assert set(pool.labels[made["one"]]) == {0, 1} and len(np.unique(made["one"])) < 150
    assert not set(pool.labels[made["without"]]) & {0, 1, 2}
    assert len(np.unique(made["everything"])) == 150
    assert set(np.asarray(pool.domains)[made["odd"]]) == {"d1"}
    (mixed,) = parse_recipes(["m=mixture:d0=.75,d1=.25"])
    drawn = draw_recipe(mixed, 100, sources, seed=0)
    assert drawn.mixture == {"d0": 0.75, "d1": 0.25}
    assert set(np.asarray(pool.domains)[drawn.positions]) == {"d0", "d1"}
    (kept,) = parse_recipes(["r=remove:select:random:0.5"])
    (taken,) = parse_recipes(["t=select:random:0.5"])
    left, chosen = (set(draw_recipe(one, 100, sources, seed=0).positions.tolist()) for one in (kept, taken))
    assert len(left) == len(chosen) == 100 and not left & chosen


def test_draws_overlap_as_sets_do_and_repeat_in_whole_passes():
    lengths = np.ones(100, dtype=np.int64)
    few = draw_members(np.array([3, 5, 9]), 7, lengths, seed=0)
    assert sorted(np.unique(few, return_counts=True)[1].tolist()) == [2, 2, 3]
    many, more = (draw_members(np.arange(count), 30, lengths, seed=1) for count in (100, 90))
    assert len(np.intersect1d(many, more)) > 20


def test_recipes_may_stand_in_a_file(tmp_path):
    (tmp_path / "recipes.txt").write_text("# by hand\nall=all\n\n  mixed=mixture:d0=.7,d1=.3\n")
    made = parse_recipes([str(tmp_path / "recipes.txt"), "odd=domain:d1"])
    assert [(one.name, one.kind) for one in made] == [("all", "all"), ("mixed", "mixture"), ("odd", "domain")]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("a",), "is not NAME=KIND:ARGUMENT"),
        (("a=b:c",), "KIND among all, domain"),
        (("a=domain:",), "says nothing after domain"),
        (("a=all:web",), "says something after all"),
        (("a=remove:all:web",), "says something after all"),
        (("a=remove:remove:all",), "is not NAME=KIND"),
        (("a=all", "a=all"), "there twice"),
    ],
)
def test_recipes_that_cannot_be_read_are_refused(entries, message):
    with pytest.raises(InputError, match=message):
        parse_recipes(entries)


def test_recipes_that_the_pool_cannot_make_are_refused(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 50))
    sources = Sources(workspace=Workspace(tmp_path / "space", "cpu"), pool=pool)
    for entry, message in {
        "a=domain:web": "no domain 'web'",
        "b=class:cat": "no class 'cat'",
        "c=mixture:d0=x": "not DOMAIN",
    }.items():
        with pytest.raises(InputError, match=message):
            draw_recipe(parse_recipes([entry])[0], 10, sources, seed=0)


def test_learning_rates_are_ranked_against_the_tuned_reference_and_nothing_is_trained_twice(data, capsys, monkeypatch):
    command = ["study", "learning-rate", "--pool", str(data / "pool"), "--test-sets", f"all={data / 'even'}",
               "--recipes", *RECIPES, "--proxy", "mlp-4x1", "--reference", "mlp-16x1", "--rates", "0.03", "0.1",
               "--reference-rates", "0.02", "0.1", "--standard", "0.08", "--examples", "100", "--epochs", "8",
               "--batch-size", "16", "--resamples", "100", "--workers", "1", "--device", "cpu", "--json",
               "--out", str(data / "rates")]  # fmt: skip
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["num_runs"] == 2 * (2 + 2) * 5 and set(result["tuned"].values()) <= {0.02, 0.1}
    assert [row["learning_rate"] for row in result["rates"]] == [0.03, 0.1]
    assert result["standard"] == 0.1 and result["largest_eigenvalue"] > 0
    assert [row["multiple"] for row in result["rates"]] == [0.375, 1.25]
    assert result["own"]["mlp-4x1"] == 0.08 and result["own"]["mlp-16x1"] == pytest.approx(0.1 * 16 / 512)
    assert all(row["trained"] for row in result["rates"]) and result["recommended"] in (0.03, 0.1)
    assert result["rates"][1]["judged"]["all"]["spearman"]["value"] > 0
    monkeypatch.setattr("thresher.proxies.trials.run_jobs", lambda work, jobs, **options: iter(jobs and [1 / 0]))
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rates"] == result["rates"]


def test_runs_at_the_sizes_own_rates_are_those_of_a_transfer_study_and_their_last_steps_are_averaged(data, capsys):
    shared = ["--pool", str(data / "pool"), "--test-sets", f"all={data / 'even'}", "--recipes", *RECIPES[:3],
              "--examples", "100", "--epochs", "4", "--batch-size", "16", "--resamples", "100", "--average", "3",
              "--workers", "1", "--device", "cpu", "--json", "--out", str(data / "both")]  # fmt: skip
    assert main(["study", "transfer", *shared, "--sizes", "mlp-4x1", "mlp-16x1"]) == 0
    by_size, sizes = json.loads(capsys.readouterr().out), ["--proxy", "mlp-4x1", "--reference", "mlp-16x1"]
    rates = ["--multiples", "0.5", "1", "--reference-multiples", "1"]
    assert main(["study", "learning-rate", *shared, *sizes, *rates]) == 0
    said = capsys.readouterr()
    assert "to come: 6 trainings of mlp-4x1;" in said.err
    by_rate = json.loads(said.out)
    steps, means = {}, {}
    for row in _rows(by_size["path"]):
        steps.setdefault((row["size"], row["recipe"], row["seed"]), []).append(float(row["loss"]))
    for row in _rows(by_rate["path"]):
        if float(row["learning_rate"]) == by_rate["own"][row["size"]]:
            means[row["size"], row["recipe"], row["seed"]] = float(row["loss"])
    assert {len(losses) for losses in steps.values()} == {3}
    assert means == pytest.approx({key: np.mean(losses) for key, losses in steps.items()})


@pytest.mark.slow
def test_a_study_that_is_killed_trains_nothing_again_that_had_finished(data, capsys):
    longer = [*command(data), "--epochs", "30"]
    process = [sys.executable, "-m", "thresher.cli.main", *longer, "--out", str(data / "killed")]
    with subprocess.Popen(process, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        while len(finished := _models(data / "killed")) < 4:
            assert run.poll() is None, "the study ended before it could be killed"
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
    assert main([*longer, "--out", str(data / "killed")]) == 0
    after = json.loads(capsys.readouterr().out)
    models = _models(data / "killed")
    assert len(models) == 5 * 2 * 2 and all(models[path] == at for path, at in finished.items())
    assert main([*longer, "--out", str(data / "whole")]) == 0
    whole = json.loads(capsys.readouterr().out)
    # What was left is stacked otherwise than the whole, which rounds otherwise.
    losses = [[float(row["loss"]) for row in _rows(result["path"])] for result in (after, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_r2_is_set_against_what_was_learned_beyond_chance(data, capsys):
    digits(data / "high", slice(300, 420))
    at = (arguments := command(data)).index("--recipes")
    assert main([*arguments[:at], f"high={data / 'high'}", *arguments[at:], "--out", str(data / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    points = result["accuracy"]["points"]
    assert {point["test_set"]: point["chance"] for point in points} == {"all": 0.1, "low": 0.2, "high": 0.1}
    runs = [row for row in _rows(result["path"]) if (row["size"], row["test_set"]) == ("mlp-4x1", "low")]
    low = next(point for point in points if point["test_set"] == "low")
    assert low["accuracy"] == pytest.approx(np.mean([float(row["correct"]) for row in runs]))
    assert low["r2"] == result["proxies"]["mlp-4x1"]["judged"]["low"]["r2"]["value"]
    learned = [point["accuracy"] - point["chance"] for point in points]
    expected = spearmanr(learned, [point["r2"] for point in points]).statistic
    assert result["accuracy"]["spearman"][0] == pytest.approx(expected)


def _models(folder):
    """Finished models -> when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/reference/[!.]*/meta.json")}


def _rows(path):
    with open(f"{path}/losses.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
