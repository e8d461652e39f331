"""The linear datamodeling score: against scipy, against what is known of noise, and on models that were retrained."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.attribution.cases import digits
from thresher.attribution.embeddings import embeddings
from thresher.attribution.quality.baselines import bm25_scores, random_scores
from thresher.attribution.quality.lds import (
    draw_subsets,
    lds,
    lds_table,
    level_share,
    noise_ceiling,
    predict_outputs,
    without_level,
)
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.executors.jobs import run_jobs
from thresher.proxies.settings import ModelSettings
from thresher.studies.experiments.retraining import open_retrainings, retrain
from thresher.workspace import Workspace

M, N, T = 30, 50, 7


def test_lds_is_spearman_of_predictions_and_outputs_with_ties() -> None:
    rng = np.random.default_rng(0)
    predicted, outputs = rng.integers(0, 5, (M, T)).astype(float), rng.standard_normal((M, T))
    outputs[:, 2] = outputs[:, 2].round()
    expected = [spearmanr(predicted[:, t], outputs[:, t]).statistic for t in range(T)]
    np.testing.assert_allclose(lds(predicted, outputs), expected)


def test_predictions_sum_the_scores_of_each_subset_in_blocks_of_any_size() -> None:
    rng = np.random.default_rng(1)
    scores, subsets = rng.standard_normal((N, T)), draw_subsets(M, N, 0.3, seed=5)
    expected = np.array([scores[mask].sum(axis=0) for mask in subsets])
    for step in (1, 7, N):
        blocks = ((start, scores[start : start + step]) for start in range(0, N, step))
        np.testing.assert_allclose(predict_outputs(blocks, subsets), expected)


def test_subsets_are_drawn_as_documented() -> None:
    subsets = draw_subsets(4, 11, 0.5, seed=3)
    assert np.flatnonzero(subsets[2]).tolist() == sorted(np.random.default_rng(5).choice(11, 6, replace=False).tolist())


def test_a_level_that_moves_all_targets_alike_hides_scores_until_it_is_taken_out() -> None:
    rng = np.random.default_rng(4)
    scores, subsets = rng.standard_normal((400, 60)), draw_subsets(100, 400, 0.5, seed=0)
    own = subsets @ scores
    level = 3 * own.std() * rng.standard_normal((100, 1))
    outputs = (own + level)[:, None, :]
    share = level.var() / (own.var(axis=0).mean() + level.var())
    assert level_share(outputs) == pytest.approx(share, abs=0.05)
    hidden = lds_table({"true": own}, outputs, num_resamples=20)["true"]["lds"].mean
    shown = lds_table({"true": without_level(own)}, without_level(outputs), num_resamples=20)["true"]["lds"].mean
    assert hidden < 0.5 and shown == pytest.approx(1)


def test_true_scores_score_one_reversed_ones_minus_one_and_random_ones_nothing() -> None:
    rng = np.random.default_rng(2)
    scores, subsets = rng.standard_normal((400, 60)), draw_subsets(100, 400, 0.5, seed=0)
    outputs = (subsets @ scores)[:, None, :]
    chance = predict_outputs(random_scores(400, 60, seed=1), subsets)
    predicted = {"true": outputs[:, 0], "wrong": -outputs[:, 0], "chance": chance}
    table = lds_table(predicted, outputs, baseline="chance", num_resamples=100)
    assert table["true"]["lds"].mean == pytest.approx(1) and table["wrong"]["lds"].mean == pytest.approx(-1)
    assert table["chance"]["lds"].low < 0 < table["chance"]["lds"].high
    assert table["true"]["difference"].low > 0.5 and "difference" not in table["chance"]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Predictions of correlation .6 with the outputs: Spearman 6 / pi asin(.6 / 2) = .582."""
    truth, covered = 6 / np.pi * np.arcsin(0.3), 0
    for draw in range(60):
        rng = np.random.default_rng([9, draw])
        outputs = rng.standard_normal((40, 12))
        predicted = 0.6 * outputs + 0.8 * rng.standard_normal((40, 12))
        found = lds_table({"x": predicted}, outputs[:, None], num_resamples=100, seed=draw)["x"]["lds"]
        covered += found.low <= truth <= found.high
    assert covered >= 50


def test_the_noise_ceiling_is_what_a_perfect_predictor_reaches() -> None:
    rng = np.random.default_rng(3)
    signal_, noise = rng.standard_normal((400, 1, 20)), rng.standard_normal((400, 4, 20))
    outputs = signal_ + noise
    ceiling = noise_ceiling(outputs, num_resamples=50)["ceiling"]
    reached = lds(signal_[:, 0], outputs.mean(axis=1)).mean()
    assert ceiling.mean == pytest.approx(reached, abs=0.02) and ceiling.low < reached < ceiling.high
    with pytest.raises(InputError, match="2 retrainings"):
        noise_ceiling(outputs[:, :1])


def test_wrong_shapes_and_numbers_are_refused() -> None:
    outputs = np.zeros((5, 2, 3))
    with pytest.raises(InputError, match=r"'x' predicts \(4, 3\), the ground truth is \(5, 3\)"):
        lds_table({"x": np.zeros((4, 3))}, outputs)
    with pytest.raises(InputError, match="not finite"):
        lds_table({"x": np.full((5, 3), np.nan)}, outputs)
    with pytest.raises(InputError, match=r"fraction=1\.0"):
        draw_subsets(5, 10, 1.0, 0)


def test_bm25_prefers_texts_that_share_rare_words() -> None:
    pool = ["the cat sat on the mat", "the dog sat", "a zebra crossed the road", "the the the"]
    (_, scores), *_ = bm25_scores(pool, ["where is the zebra", "xylophone"])
    assert scores.shape == (4, 2) and scores[:, 0].argmax() == 2 and not scores[:, 1].any()


def test_embeddings_are_what_enters_the_last_layer_whatever_the_batch(tmp_path) -> None:
    import torch

    from tests.attribution.cases import mlp, token_examples
    from tests.attribution.gradients.test_featurizer import gpt2

    model, pool = mlp(), digits(tmp_path / "pool", slice(0, 30))
    with full_float32():
        hidden = model[:3](pool.batch(range(30))["pixel_values"])
    np.testing.assert_allclose(embeddings(model, pool, device="cpu"), hidden.detach(), rtol=1e-5)
    torch.manual_seed(0)
    words, texts = gpt2(), token_examples(tmp_path / "texts", [5, 12, 7, 12])
    batch = texts.batch([2])
    with full_float32():
        alone = words.eval().transformer(input_ids=batch["input_ids"]).last_hidden_state[0]
    counted = (batch["labels"][0] != -100).numpy()
    expected = alone.detach().numpy()[counted].mean(axis=0)
    np.testing.assert_allclose(embeddings(words, texts, device="cpu")[2], expected, rtol=1e-4, atol=1e-5)


def _square(x):
    return x * x


def _fail(x):
    raise InputError(f"job {x} cannot be done; pass another")


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_run_in_processes_and_their_errors_arrive_here(workers) -> None:
    assert dict(run_jobs(_square, [3, 4, 5], workers=workers)) == {0: 9, 1: 16, 2: 25}
    with pytest.raises(InputError, match="cannot be done"):
        list(run_jobs(_fail, [1, 2], workers=workers))


TABLE = ModelSettings(size="mlp-16x1", epochs=20, batch_size=32, learning_rate=0.05)


def test_ground_truth_is_the_same_in_one_process_as_in_two_and_resumes(tmp_path) -> None:
    pool, target = digits(tmp_path / "pool", slice(0, 60)), digits(tmp_path / "target", slice(60, 80))
    options = {"num_subsets": 3, "repeats": 2, "seed": 1}
    one = retrain(pool, target, TABLE, workers=1, workspace=Workspace(tmp_path / "one", "cpu"), **options)
    two = retrain(pool, target, TABLE, workers=2, workspace=Workspace(tmp_path / "two", "cpu"), **options)
    assert one.subsets.shape == (3, 60) and one.outputs("margin").shape == (3, 2, 20)
    np.testing.assert_allclose(one.outputs("margin"), two.outputs("margin"), atol=1e-3)
    assert np.abs(one.outputs("loss")[:, 0] - one.outputs("loss")[:, 1]).max() > 1e-3  # other seeds, other models


COMMAND = """
import sys
from thresher.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_ground_truth_continues_where_it_was(tmp_path) -> None:
    digits(tmp_path / "pool", slice(0, 400)), digits(tmp_path / "target", slice(400, 420))
    arguments = ["lds", "--pool", str(tmp_path / "pool"), "--target", str(tmp_path / "target")]
    arguments += ["--model", "mlp-16x1", "--epochs", "30", "--subsets", "12", "--checkpoints", "1", "--k", "16"]
    arguments += ["--workers", "1", "--device", "cpu", "--json"]
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments, "--out", str(tmp_path / "killed")])
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed").glob(".retrainings*/.state/run-*.safetensors"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (partial,) = (tmp_path / "killed").glob(".retrainings*.partial")
    before = {file.name: file.stat().st_mtime_ns for file in (partial / ".state").glob("run-*.safetensors")}
    assert 3 <= len(before) < 24
    for name in ("killed", "whole"):
        assert main([*arguments, "--out", str(tmp_path / name)]) == 0
    killed, whole = (
        open_retrainings(next((tmp_path / name).glob("retrainings-*"))).outputs("margin")
        for name in ("killed", "whole")
    )
    np.testing.assert_allclose(killed, whole, atol=1e-3)  # not to the bit: what was left was trained in other company


def test_the_command_judges_trak_against_baselines_and_reuses_the_ground_truth(tmp_path, capsys) -> None:
    pool, target = digits(tmp_path / "pool", slice(0, 300)), digits(tmp_path / "target", slice(300, 330))
    np.save(tmp_path / "upside-down.npy", -np.ones((300, 30)) * np.arange(300)[:, None])
    arguments = ["lds", "--pool", str(pool.artifact.path), "--target", str(target.artifact.path)]
    arguments += ["--model", "mlp-32x1", "--epochs", "15", "--batch-size", "32", "--learning-rate", "0.05"]
    arguments += ["--subsets", "24", "--checkpoints", "2", "--k", "128", "--out", str(tmp_path / "out"), "--json"]
    arguments += ["--device", "cpu", "--scores", f"mine={tmp_path / 'upside-down.npy'}"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    table = {name: row["lds"] for name, row in result["table"].items()}
    assert set(table) == {"trak", "grad-cosine", "embedding", "random", "mine"}
    assert table["trak"]["low"] > 0.1 and table["trak"]["mean"] > table["random"]["mean"]
    assert result["table"]["trak"]["difference"]["low"] > 0
    assert 0 < result["ceiling"]["agreement"]["mean"] < result["ceiling"]["ceiling"]["mean"] <= 1
    assert result["num_subsets"] == 24 and result["repeats"] == 2 and result["fraction"] == 0.5

    (truth,) = (tmp_path / "out").glob("retrainings-*")
    made = (truth / "meta.json").stat().st_mtime_ns
    assert main([*arguments, "--scorers", "dual", "random"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["table"]["dual"]["lds"]["low"] > 0.1
    assert (truth / "meta.json").stat().st_mtime_ns == made
    assert again["table"]["random"]["lds"] == table["random"]


def test_bad_requests_are_one_line(tmp_path, capsys) -> None:
    pool = digits(tmp_path / "pool", slice(0, 60))
    both = ["--pool", str(pool.artifact.path), "--target", str(pool.artifact.path), "--out", str(tmp_path / "out")]
    both += ["--model", "mlp-16x1"]
    for wrong, message in {
        ("--scorers", "bm25"): "scorer 'bm25' compares texts",
        ("--scorers", "magic"): "scorer 'magic' is unknown",
        ("--subsets", "2"): "subsets=2",
        ("--output", "accuracy"): "output 'accuracy' is unknown",
        ("--checkpoints", "0"): "--checkpoints 0 cannot be; give a number from 1",
        ("--workers", "0"): "--workers 0 cannot be",
    }.items():
        assert main(["lds", *both, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert open_examples(pool.artifact.path)
