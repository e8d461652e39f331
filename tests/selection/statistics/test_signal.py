"""Signal, noise and what it leaves to decide on: against sums by hand and simulated pairs of measurements."""

import json

import numpy as np
import pytest

from thresher.cli.main import main
from thresher.errors import InputError
from thresher.selection.statistics.decisions import MEAN, judge
from thresher.selection.statistics.loss_files import LossColumns, read_losses
from thresher.selection.statistics.signal import CLEAR, ceiling, signal_of, told_apart, weights_of


def test_signal_and_noise_of_seeds_by_hand():
    found = signal_of([[3.0, 3.2], [2.0, 2.2], [2.5, 2.7]])
    assert found is not None and found.source == "seeds" and found.num_values == 2
    assert found.signal == pytest.approx(1.0 / 2.6) and found.noise == pytest.approx(np.sqrt(0.02) / 2.6)
    assert found.error == pytest.approx(np.sqrt(0.02 / 2)) and found.ratio == pytest.approx(1 / np.sqrt(0.02))
    assert found.own_share == pytest.approx(1 - 0.01 / np.var([3.1, 2.1, 2.6], ddof=1))
    assert signal_of([[1.0], [2.0], [3.0]]) is None
    with pytest.raises(InputError, match="2 recipes"):
        signal_of([[1.0, 2.0], [2.0, 3.0]])


def test_what_all_recipes_do_from_one_checkpoint_to_the_next_is_no_noise():
    rng = np.random.default_rng(0)
    level, falling = rng.normal(size=(40, 1)), np.array([0.9, 0.5, 0.2, 0.1, 0.0])
    values = 3 + level + falling + 0.05 * rng.normal(size=(40, 5))
    found = signal_of(values.tolist(), "checkpoints")
    assert found is not None and found.error == pytest.approx(0.05, rel=0.15) and found.num_values == 1
    as_seeds = signal_of(values.tolist())
    assert as_seeds is not None and as_seeds.noise > 4 * found.noise


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0])
def test_the_ceiling_is_how_often_two_measurements_of_the_same_recipes_agree(noise):
    rng, seeds = np.random.default_rng(1), 2
    true = rng.normal(size=400)
    sides = [true[:, None] + noise * rng.normal(size=(400, seeds)) for _ in range(2)]
    x, y = (side.mean(axis=1) for side in sides)
    agreed = judge({"a": x}, {"a": y}, num_resamples=0)["a"]["decision_accuracy"].value
    assert ceiling(*(signal_of((5 + side).tolist()) for side in sides)) == pytest.approx(agreed, abs=0.02)
    assert ceiling(None, None) == 1


def test_pairs_count_by_how_far_apart_they_lie_and_ties_within_noise_not_at_all():
    x, y, error = np.array([1.0, 2.0, 2.9, 4.0]), np.array([1.0, 2.02, 2.0, 5.0]), 0.1
    found = judge({"a": x}, {"a": y}, errors={"a": error}, num_resamples=0)["a"]
    apart = np.abs(y[:, None] - y)[np.triu_indices(4, 1)]
    assert found["decision_accuracy"].value == pytest.approx(5 / 6)
    assert found["weighted_accuracy"].value == pytest.approx(1 - 0.02 / apart.sum())
    assert found["clear_accuracy"].value == 1 and told_apart(y, error).sum() == 10
    assert (
        told_apart(y, 0.021 / CLEAR / np.sqrt(2)).sum() == 10 and told_apart(y, 0.019 / CLEAR / np.sqrt(2)).sum() == 12
    )
    hidden = judge({"a": x, "b": x}, {"a": y, "b": y}, errors={"a": 10.0, "b": error}, num_resamples=20)
    assert "clear_accuracy" not in hidden["a"] and hidden[MEAN]["clear_accuracy"] == hidden["b"]["clear_accuracy"]
    assert "clear_accuracy" not in judge({"a": x}, {"a": y}, errors={"a": 10.0}, num_resamples=20)["a"]
    assert "clear_accuracy" not in judge({"a": x}, {"a": y}, num_resamples=0)["a"]


def test_a_mean_may_be_of_some_test_sets():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    sides = {"good": x, "bad": x}, {"good": x, "bad": y}
    assert judge(*sides, num_resamples=0)[MEAN]["decision_accuracy"].value == 0.5
    assert judge(*sides, weights={"good": 1}, num_resamples=0)[MEAN]["decision_accuracy"].value == 1
    assert judge(*sides, weights={"good": 3, "bad": 1}, num_resamples=0)[MEAN]["decision_accuracy"].value == 0.75


def test_weights_of_the_reference_leave_a_guess_at_a_half_and_pass_over_noise():
    """Sets from clear to noise alone: agreement of a guess is a half under the weights, that of the truth is raised."""
    rng, recipes = np.random.default_rng(3), 12
    noises = {"clear": 0.05, "middling": 0.7, "noise": 50.0}
    guessed, known, plain = [], [], []
    for _ in range(60):
        true = {name: rng.normal(size=recipes) for name in noises}
        sides = {name: 100 + true[name][:, None] + noises[name] * rng.normal(size=(recipes, 3)) for name in noises}
        signals = {name: signal_of(side.tolist()) for name, side in sides.items()}
        weights = weights_of({name: signal for name, signal in signals.items() if signal is not None})
        reference = {name: side.mean(axis=1) for name, side in sides.items()}
        for proxy, found in ((rng.normal(size=(3, recipes)), guessed), (list(true.values()), known)):
            judged = judge(dict(zip(noises, proxy, strict=True)), reference, weights=weights, num_resamples=0)
            found.append(judged[MEAN]["decision_accuracy"].value)
        plain.append(judge(true, reference, num_resamples=0)[MEAN]["decision_accuracy"].value)
    assert np.mean(guessed) == pytest.approx(0.5, abs=0.04)
    assert np.mean(known) > np.mean(plain) + 0.05


@pytest.fixture
def table(tmp_path):
    """Two sizes, 8 recipes, 6 steps: `clear` has signal, `noisy` none."""
    rng, rows = np.random.default_rng(2), ["size,recipe,step,test_set,loss"]
    for size, noise in (("1M", 0.04), ("10M", 0.02)):
        for recipe in range(8):
            for step in range(1, 7):
                clear = 3 + recipe / 10 + 1 / step + noise * rng.normal()
                noisy = 4 + recipe / 1e4 + 1 / step + noise * rng.normal()
                rows += [f"{size},r{recipe},{step},clear,{clear}", f"{size},r{recipe},{step},noisy,{noisy}"]
    file = tmp_path / "losses.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def test_the_last_steps_are_averaged_or_stand_for_seeds(table):
    losses = read_losses([table], LossColumns(step="step"))
    last = [losses.at("1M", step)["r3"]["clear"][0] for step in (4.0, 5.0, 6.0)]
    assert losses.at("1M", average=3)["r3"]["clear"] == [pytest.approx(np.mean(last))]
    assert losses.checkpoints("1M", count=3)["r3"]["clear"] == last
    assert losses.checkpoints("1M", step=4, count=9)["r3"]["clear"][-1] == last[0]
    with pytest.raises(InputError, match="has 6 steps up to 6, and 7 are to be averaged"):
        losses.at("1M", average=7)


def from_table(capsys, *words):
    code = main(["study", "from-table", *map(str, words), "--json"])
    out, err = capsys.readouterr()
    return json.loads(out) if code == 0 else err


def test_a_table_with_steps_says_which_test_sets_can_decide(table, capsys):
    found = from_table(capsys, table, "--step", "step", "--sets", "able")
    signals = found["proxies"]["1M"]["signals"]
    assert [signals[name]["is_counted"] for name in ("clear", "noisy")] == [True, False]
    assert signals["clear"]["proxy"]["source"] == "checkpoints" and signals["clear"]["ceiling"] > 0.9
    assert signals["noisy"]["reference"]["own_share"] < 0.6
    every = from_table(capsys, table, "--step", "step")["proxies"]["1M"]["judged"][MEAN]["decision_accuracy"]
    counted = found["proxies"]["1M"]["judged"][MEAN]["decision_accuracy"]
    assert counted["value"] == found["proxies"]["1M"]["judged"]["clear"]["decision_accuracy"]["value"] > every["value"]
    weighted = from_table(capsys, table, "--step", "step", "--sets", "weighted")["proxies"]["1M"]
    own = {name: weighted["signals"][name]["reference"]["own_share"] for name in ("clear", "noisy")}
    assert {name: weighted["signals"][name]["weight"] for name in own} == own and own["clear"] > 0.9 > own["noisy"]
    accuracies = [weighted["judged"][name]["decision_accuracy"]["value"] for name in own]
    mean = weighted["judged"][MEAN]["decision_accuracy"]["value"]
    assert mean == pytest.approx(np.average(accuracies, weights=list(own.values())))
    averaged = from_table(capsys, table, "--step", "step", "--average", 3, "--criterion", "clear_accuracy")
    assert averaged["proxies"]["1M"]["at_last_step"]["decision_accuracy"] == every
    assert averaged["verdict"]["measure"] == "clear_accuracy"


def test_noise_that_nobody_knows_is_refused_where_it_is_needed(table, capsys):
    rows = [line for line in table.read_text().splitlines() if ",6," in line or "size" in line]
    table.write_text("\n".join(rows) + "\n")
    assert "needs the reference's noise" in from_table(capsys, table, "--criterion", "clear_accuracy")
    assert "needs the reference's noise" in from_table(capsys, table, "--sets", "weighted")
    only_noisy = [line for line in rows if "clear" not in line]
    table.write_text("\n".join(only_noisy) + "\n")
    assert from_table(capsys, table)["proxies"]["1M"]["signals"]["noisy"]["ceiling"] == 1
