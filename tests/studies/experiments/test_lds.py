"""Checkpoints to attribute with, and LDS from the command line."""

import json

import numpy as np

from tests.attribution.cases import digits
from thresher.cli.main import main
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Trial
from thresher.studies.experiments import lds
from thresher.studies.experiments.retraining import subsets_of
from thresher.workspace import Workspace

COUNT = 3


def test_checkpoints_of_a_part_are_each_on_a_part_of_their_own_and_not_on_those_they_are_judged_by(
    tmp_path, monkeypatch
):
    pool, drawn = digits(tmp_path / "pool", slice(0, 120)), {}

    def noted(pool, table, trials: list[Trial], **options):
        drawn[len(drawn)] = trials
        return []

    monkeypatch.setattr(lds, "train_trials", noted)
    common = {"count": COUNT, "seed": 0, "workers": 1, "workspace": Workspace(tmp_path / "work", "cpu")}
    for fraction in (1.0, 0.5):
        lds.train_checkpoints(pool, ModelSettings(size="mlp-4x1", epochs=1), fraction=fraction, **common)
    whole, halves = (np.array([np.isin(np.arange(120), trial.indices) for trial in each]) for each in drawn.values())
    assert whole.all() and (halves.sum(axis=1) == 60).all()
    assert [trial.seed for trial in drawn[0]] == [trial.seed for trial in drawn[1]]
    judged_by = subsets_of(np.ones(120, dtype=int), COUNT, 0.5, 0)[0]
    shared = np.array([[(half & other).sum() for other in (*halves, *judged_by)] for half in halves])
    assert (np.sort(shared, axis=1)[:, :-1] < 45).all()  # of 60, 30 by chance; a half shares all with itself alone


def test_lds_attributes_with_models_of_halves_and_says_no_beside_a_ladder(tmp_path, capsys):
    digits(tmp_path / "pool", slice(0, 120), classes=3)
    digits(tmp_path / "target", slice(120, 140), classes=3)
    places = ["--pool", tmp_path / "pool", "--target", tmp_path / "target", "--out", tmp_path / "out"]
    size = ["--model", "mlp-4x1", "--epochs", 2, "--batch-size", 16, "--subsets", 6, "--repeats", 1, "--k", 32]
    how = ["--checkpoints", 2, "--checkpoint-fraction", 0.5, "--workers", 1, "--device", "cpu", "--json"]
    command = [*map(str, ["lds", *places, *size, *how])]
    assert main([*command, "--scorers", "trak"]) == 0
    assert "trak" in json.loads(capsys.readouterr().out)["table"]
    assert len(list((tmp_path / "out" / "checkpoints").glob("part-*"))) == 2
    assert main([*command, "--ladder", "mlp-8x1"]) == 2
    assert "leave --checkpoint-fraction out" in capsys.readouterr().err
    assert main([*command, "--scorers", "random"]) == 0
    assert "warning: --k has no effect with scorer random" in capsys.readouterr().err
