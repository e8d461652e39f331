"""Reference runs at several budgets of random data, end to end on digits."""

import numpy as np
import pytest

from tests.attribution.cases import digits
from thresher.errors import InputError
from thresher.proxies.settings import ModelSettings
from thresher.studies.experiments.training_sets import TrainingSet, random_set
from thresher.studies.experiments.validation import ValidationPlan, read_runs, validate
from thresher.studies.report.sentences import validation_lines
from thresher.workspace import Workspace

MODEL = ModelSettings(size="mlp-16x1", epochs=12, batch_size=16, learning_rate=0.05)


@pytest.fixture
def data(tmp_path):
    flipped = range(0, 300, 2)
    return digits(tmp_path / "pool", slice(0, 400), flipped=flipped), digits(tmp_path / "target", slice(400, 600))


def arms(pool):
    clean = np.arange(1, 200, 2)
    return [TrainingSet.of("clean", clean), random_set(pool.lengths(), len(clean), num_repeats=2, seed=0)]


def run(data, root, plan, **options):
    pool, target = data
    given = {"arms": arms(pool), "targets": {"digits": target}, "off_targets": {}} | options
    return validate(pool, **given, model=MODEL, plan=plan, seed=0, workspace=Workspace(root, "cpu"))


def test_clean_data_beats_half_wrong_labels_and_is_worth_more_compute(data, tmp_path):
    plan = ValidationPlan(num_seeds=2, random_budgets=(0.5, 2, 4), costs={"clean": 1e6}, workers=1)
    made = run(data, tmp_path / "runs", plan)
    (row,) = made.facts["paired"]
    assert row["arm"] == "clean" and row["mean"] < 0
    assert [place["arm"] for place in made.facts["standings"]["digits"]] == ["clean", "random"]
    (multiplier,) = made.facts["multipliers"]
    assert multiplier["alone"]["mean"] > 1.5 and multiplier["with_cost"]["mean"] < multiplier["alone"]["mean"]
    rows = read_runs(made.path)
    assert {row["arm"] for row in rows} == {"clean", "random", "random x 0.5", "random x 2", "random x 4"}
    flops = {row["arm"]: row["flops"] for row in rows}
    assert flops["random x 4"] == pytest.approx(4 * flops["random"], rel=0.01)
    assert "random x 2" not in {line["arm"] for line in made.facts["paired"]}
    assert made.file("learning_curve.svg").read_text().startswith("<svg xmlns")


def test_two_processes_train_the_same_models_and_a_second_call_none(data, tmp_path, monkeypatch):
    alone = run(data, tmp_path / "alone", ValidationPlan(num_seeds=2, workers=1))
    together = run(data, tmp_path / "together", ValidationPlan(num_seeds=2, workers=2))
    for one, other in zip(read_runs(alone.path), read_runs(together.path), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)  # they are trained as one, in other company
        assert {**one, "loss": 0} == {**other, "loss": 0}
    monkeypatch.setattr("thresher.proxies.trials.run_jobs", lambda work, jobs, **where: iter(jobs and [1 / 0]))
    again = run(data, tmp_path / "together", ValidationPlan(num_seeds=2, workers=2))
    assert not again.built


def test_arms_that_hold_more_are_trained_on_as_much_as_the_smallest(data, tmp_path):
    pool, _ = data
    longer = [*arms(pool), TrainingSet.of("longer", np.arange(150))]
    made = run(data, tmp_path / "runs", ValidationPlan(num_seeds=2, workers=1), arms=longer)
    assert made.facts["budget"] == 100 and made.facts["unit"] == "images"
    assert made.facts["held"]["longer"] == {"mean": 150.0, "smallest": 150, "largest": 150}
    assert {row["seen"] for row in read_runs(made.path)} == {12 * 100}
    assert any("arms hold 100 (clean) to 150 (longer) images; an epoch of every arm is 100" in line
               for line in validation_lines(made.facts))  # fmt: skip


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(data, tmp_path, monkeypatch):
    monkeypatch.setattr("thresher.proxies.trials.run_jobs", lambda work, jobs, **where: iter(jobs and [1 / 0]))
    with pytest.raises(InputError, match="an arm holds 100, less than the budget of 101"):
        run(data, tmp_path / "a", ValidationPlan(num_seeds=2, budget=101))
    with pytest.raises(InputError, match="no target to measure on"):
        run(data, tmp_path / "a", ValidationPlan(num_seeds=2), targets={})
    with pytest.raises(InputError, match=r"random budgets \[-1, 2\] must be above 0"):
        run(data, tmp_path / "a", ValidationPlan(num_seeds=2, random_budgets=(-1, 2)))
    with pytest.raises(InputError, match="agree to six digits"):
        run(data, tmp_path / "a", ValidationPlan(num_seeds=2, random_budgets=(0.5, 2, 2.0000001)))
    with pytest.raises(InputError, match="the pool has 400"):
        run(data, tmp_path / "b", ValidationPlan(num_seeds=2, random_budgets=(2, 5)))
    with pytest.raises(InputError, match="2 amounts"):
        run(data, tmp_path / "c", ValidationPlan(num_seeds=2, random_budgets=(2,)))
    with pytest.raises(InputError, match="no arm"):
        run(data, tmp_path / "d", ValidationPlan(num_seeds=2, costs={"other": 1.0}))
