"""What is said beforehand of trainings to come: how many, how long at least and at most, memory, disk."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from thresher.proxies.models.spec import model_spec
from thresher.proxies.planned import Planned, cost_of, say_planned, span
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import train_config_of
from thresher.proxies.trials import Trial, planned, train_trials
from thresher.shown import size_of
from thresher.workspace import Workspace

SMALL = ModelSettings(size="20K", epochs=2)


def said(caplog, trainings, pool, folder, workers=1):
    """The lines that were logged."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="thresher"):
        say_planned(trainings, pool, workers=workers, workspace=Workspace(folder, "cpu"))
    return [record.getMessage() for record in caplog.records]


def test_trainings_are_counted_by_size_with_how_many_run_at_once(text, tmp_path, caplog):
    other = ModelSettings(size="40K")
    kinds = [Planned(SMALL, [500.0] * 3), Planned(other, [500.0] * 2), Planned(SMALL, [500.0])]
    (line,) = said(caplog, kinds, text, tmp_path, workers=4)
    assert line.startswith("to come: 6 trainings (4 of 20K, 2 of 40K), 4 at once; about ")
    assert re.search(r"about .+ on this machine, \d[\d.]* GB of memory, .+ on disk$", line)


def test_one_training_is_one(text, tmp_path, caplog):
    (line,) = said(caplog, [Planned(SMALL, [500.0], keeps=False)], text, tmp_path)
    assert line.startswith("to come: 1 training of 20K; about ") and line.endswith("less than 1 MB on disk")


def test_nothing_is_said_or_timed_where_nothing_is_to_come_or_nobody_listens(text, tmp_path, caplog, monkeypatch):
    assert said(caplog, [Planned(SMALL, [])], text, tmp_path) == []
    monkeypatch.setattr("thresher.proxies.planned.cost_of", lambda *_: pytest.fail("timed"))
    with caplog.at_level(logging.WARNING, logger="thresher"):
        say_planned([Planned(SMALL, [1.0])], text, workers=1, workspace=Workspace(tmp_path, "cpu"))
    assert not caplog.records


def test_models_that_are_there_already_are_not_to_come(text, tmp_path):
    workspace = Workspace(tmp_path, "cpu")
    trials = [Trial("a", repeat, repeat, np.arange(20), budget=200) for repeat in range(2)]
    assert planned(text, SMALL, trials, workspace).units == [200.0, 200.0]
    train_trials(text, SMALL, trials[:1], label="runs", workers=1, workspace=workspace)
    assert planned(text, SMALL, trials, workspace).units == [200.0]


@pytest.mark.parametrize("pool", ["text", "digits"])
def test_costs_are_of_the_model_as_it_is_trained(pool, request):
    examples = request.getfixturevalue(pool)
    size = "20K" if pool == "text" else "mlp-16x1"
    spec = model_spec(size, examples)
    config = train_config_of(ModelSettings(size=size), spec, examples)
    cost = cost_of(spec, config, examples, "cpu")
    kept = cost_of(spec, replace(config, keep_optimizer=True), examples, "cpu")
    assert cost.seconds > 0 and cost.memory > 4 * cost.weights and kept.weights == 3 * cost.weights
    assert cost.stacks == (pool == "digits") and cost.epochs == (1 if pool == "text" else 30)


def test_ranges_and_sizes_as_a_person_says_them():
    assert span(200, 480) == "3 to 8 min" and span(40, 200) == "40 s to 3 min" and span(1, 1.2) == "1 s"
    assert [size_of(x) for x in (10, 1.84e6, 401e6, 2.5e9, 123e9)] == [
        "less than 1 MB", "1.8 MB", "400 MB", "2.5 GB", "120 GB",
    ]  # fmt: skip
