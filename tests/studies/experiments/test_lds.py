"""Checkpoints to attribute with, and LDS from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.attribution.cases import digits
from thresher.artifacts import open_artifact
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


@pytest.fixture
def command(tmp_path):
    """`thresher lds` on 60 digits and 12 targets, the smallest that there is."""
    digits(tmp_path / "pool", slice(0, 60), classes=3)
    digits(tmp_path / "target", slice(60, 72), classes=3)
    places = ["--pool", tmp_path / "pool", "--target", tmp_path / "target", "--out", tmp_path / "out"]
    size = ["--model", "mlp-4x1", "--epochs", 1, "--batch-size", 16, "--subsets", 4, "--repeats", 1]
    return [*map(str, ["lds", *places, *size, "--checkpoints", 1, "--workers", 1, "--device", "cpu", "--k", 16])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--scores mine={f}/missing.npy", "missing.npy does not exist"),
        ("--scores {f}/missing.npy", "missing.npy does not exist"),
        ("--scores mine={f}/pool", "cannot be read (Is a directory)"),
        ("--scores mine={f}/text.npy", "text.npy is no .npy file of numbers"),
        ("--scores mine={f}/short.npy", "short.npy has shape (59, 12); scores [pool, target] are (60, 12) here"),
        ("--scores mine={f}/nan.npy", "nan.npy holds scores that are not finite"),
        ("--scorers random trak --scores trak={f}/fit.npy", "fit.npy has the name of a scorer that is judged too"),
        ("--subsets 2", "subsets=2; a rank correlation over subsets needs at least 3"),
        ("--subsets 2 --ladder mlp-8x1", "subsets=2; a rank correlation over subsets needs at least 3"),
        ("--fraction 0.001", "fraction=0.001 of 60 examples is 0"),
        ("--baseline tark", "baseline 'tark' is unknown (nearest: 'trak')"),
        ("--scorers random trak --baseline embedding", "baseline 'embedding' is unknown; pass one of: random, trak"),
        ("--no-own", "--no-own is for comparing sizes"),
        ("--top 3", "--top 3 is for comparing sizes"),
        ("--ladder mlp-8x1 --baseline ekfac", "leave --baseline ekfac out"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_trained(words, message, command, tmp_path, capsys):
    (tmp_path / "text.npy").write_text("no array")
    for name, scores in {"short": np.ones((59, 12)), "fit": np.ones((60, 12)), "nan": np.ones((60, 12))}.items():
        scores[-1, -1] = np.nan if name == "nan" else 1
        np.save(tmp_path / f"{name}.npy", scores)
    assert main([*command, *words.format(f=tmp_path).split()]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_differences_are_to_what_is_judged_also_to_given_scores(command, tmp_path, capsys):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(size=(60, 12)))
    words = [*command, "--scorers", "grad-cosine", "--scores", f"mine={tmp_path / 'mine.npy'}", "--json", "--quiet"]
    assert main([*words, "--baseline", "mine"]) == 0
    assert "difference" in json.loads(capsys.readouterr().out)["table"]["grad-cosine"]
    assert main(words) == 0  # the usual one is not among them, and was not asked for
    assert "difference" not in json.loads(capsys.readouterr().out)["table"]["grad-cosine"]


def test_the_loss_and_the_margin_are_results_of_their_own(command, capsys):
    found = {}
    for output in ("margin", "loss"):
        assert main([*command, "--scorers", "random", "trak", "--output", output, "--json", "--quiet"]) == 0
        found[output] = json.loads(capsys.readouterr().out)
    assert found["loss"]["built"] and found["loss"]["path"] != found["margin"]["path"]
    assert found["loss"]["level_share"] != found["margin"]["level_share"]


def test_a_ladder_is_judged_by_the_loss_where_that_is_asked_for(command, capsys):
    found = {}
    for output in ("margin", "loss"):
        assert main([*command, "--ladder", "mlp-8x1", "--no-own", "--output", output, "--json", "--quiet"]) == 0
        found[output] = json.loads(capsys.readouterr().out)
    assert found["loss"]["built"] and found["loss"]["path"] != found["margin"]["path"]
    by_margin, by_loss = ([size["lds"]["mean"] for size in result["sizes"].values()] for result in found.values())
    np.testing.assert_allclose(by_margin, by_loss, atol=0.3)  # the loss negated: both say how well a target is known
    (by_margin, by_loss) = (open_artifact(Path(result["path"])).meta["config"] for result in found.values())
    assert "measured" not in by_margin and by_loss["measured"] == "loss"
