"""`thresher mix` where it trains: runs, scores, DoReMi, validation, bad input."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.mix.lines import read_csv, run
from tests.toy_corpus import write_corpus
from thresher.cli.main import main
from thresher.cli.mix.doremi import DoReMi
from thresher.cli.mix.options import command_line
from thresher.data.examples import open_examples
from thresher.errors import InputError
from thresher.progress import SILENT
from thresher.proxies import TrainConfig
from thresher.proxies.models.completep import learning_rate
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.order import Order
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.goal import make_goal
from thresher.studies.experiments.training_sets import check_domains, supply
from thresher.studies.mixtures import design_loop
from thresher.studies.mixtures.runs import Bench, run_budget


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    corpus = write_corpus(folder / "corpus.jsonl", 120)
    lines = corpus.read_text().splitlines(keepends=True)
    cooking = [line for line in lines if '"source": "cooking"' in line]
    (folder / "cooking.jsonl").write_text("".join(cooking[:12]))
    prepare = ("--sequence-length", "16", "--quiet")
    assert main(["prepare", "--data", str(corpus), "--domain", "source", "--id", "id", "--vocab-size", "300", *prepare,
                 "--out", str(folder / "pool")]) == 0  # fmt: skip
    assert main(["prepare", "--data", str(folder / "cooking.jsonl"), "--id", "id", *prepare, "--tokenizer",
                 str(folder / "pool-tokenizer"), "--out", str(folder / "cooking")]) == 0  # fmt: skip
    return folder


def toy_runs(toy, out, *more, targets=None):
    shape = ("--model", "20k", "--tokens", 1024, "--batch-size", 8, "--workers", 1, "--resamples", 4, "--quiet")
    targets = targets or (f"cooking={toy / 'cooking'}",)
    return ("runs", "--pool", toy / "pool", "--targets", *targets, "--out", out, *shape, *more)


@pytest.fixture(scope="module")
def found(toy):
    assert main(["mix", *map(str, toy_runs(toy, toy / "runs", "--runs", 8, "--first", 5, "--batch", 2))]) == 0
    return toy / "runs"


def test_runs_are_designed_trained_and_fitted_and_the_table_gives_the_same_again(found, toy, capsys):
    result = json.loads((found / "mixture.json").read_text())
    rows = read_csv(found / "runs.csv")
    assert len(rows) == result["num_trained"] == 8 and result["flops"] > 0
    assert result["weights"]["cooking"] > 0.5  # what the target is made of
    _, again, _ = run(capsys, "table", found / "runs.csv", "--resamples", 4, "--quiet")
    assert again["predicted_losses"]["cooking"] == pytest.approx(result["predicted_losses"]["cooking"], abs=1e-6)
    assert result["command"].startswith("thresher mix runs --resamples 4 --pool ")
    assert all(option in result["command"] for option in ("--tokens 1024", "--runs 8", "--first 5", "--batch 2"))
    assert (found / "report.html").exists()


def test_a_second_call_trains_nothing_and_a_larger_one_goes_on(found, toy, capsys):
    def made():
        return {path: path.stat().st_mtime_ns for path in found.glob("models/*/meta.json")}

    before, table = made(), (found / "runs.csv").read_text()
    run(capsys, *toy_runs(toy, found, "--runs", 8, "--first", 5, "--batch", 2))
    assert made() == before and len(before) == 8 and (found / "runs.csv").read_text() == table
    _, result, _ = run(capsys, *toy_runs(toy, found, "--runs", 9, "--first", 5, "--batch", 2))
    assert result["num_trained"] == 9 and {path: made()[path] for path in before} == before


@pytest.mark.slow
def test_two_workers_make_the_same_runs_as_one(toy, found, tmp_path, capsys):
    # Fewer runs than the first design has: its beginning.
    arguments = list(toy_runs(toy, tmp_path / "two", "--runs", 3, "--first", 5))
    arguments[arguments.index("--workers") + 1] = 2
    run(capsys, *arguments)
    two, one = (read_csv(folder / "runs.csv") for folder in (tmp_path / "two", found))
    for ours, theirs in zip(two[:3], one[:3], strict=True):
        assert float(ours["loss_cooking"]) == pytest.approx(float(theirs["loss_cooking"]), rel=1e-4)


def test_a_random_design_goes_on_too_and_repeats_cap_the_proposal_alone(toy, tmp_path, capsys):
    limits = ("--design", "dirichlet", "--budget", 10_000, "--max-repeats", 1)
    tables = []
    for runs in (3, 4):
        _, result, _ = run(capsys, *toy_runs(toy, tmp_path / "d", *limits, "--runs", runs))
        tables.append(read_csv(tmp_path / "d" / "runs.csv"))
    assert tables[1][:3] == tables[0] and len(tables[1]) == 4
    tokens = supply(open_examples(toy / "pool"))
    assert all(share <= tokens[domain] / 10_000 + 1e-9 for domain, share in result["weights"].items())
    assert max(float(row["weight_cooking"]) for row in tables[1]) > tokens["cooking"] / 10_000


@pytest.mark.parametrize(("worst_case", "kl_weight"), [(True, 0.0), (False, 100.0)])
def test_runs_after_the_first_serve_the_objective_of_the_proposal(worst_case, kl_weight, tmp_path):
    # Two targets that pull apart: one of high losses that hardly vary, one of low losses that do.
    shares = np.linspace(0.05, 0.95, 10)
    rows = [
        {"weights": {"a": share, "b": 1 - share}, "losses": {"high": 10 - 0.1 * share, "low": 1 + share}}
        for share in shares.tolist()
    ]
    targets = {"high": tmp_path, "low": tmp_path}
    bench = Bench(tmp_path, targets, ModelSettings(size="20k"), tmp_path)
    goal, limits = make_goal(list(targets), worst_case=worst_case), make_constraints(["a", "b"], kl_weight=kl_weight)
    loop = design_loop._Loop(bench, design_loop.Design(run_budget=1, method="linear"), goal, limits, None, 1, SILENT)
    np.testing.assert_allclose(loop._next(rows, 3)[:, 0], 0.5, atol=0.1)


def test_a_budget_stops_the_runs(toy, found, tmp_path, capsys):
    spent = json.loads((found / "mixture.json").read_text())["flops"] / 8
    more = ("--runs", 12, "--first", 4, "--batch", 2, "--max-flops", 7 * spent)
    _, result, _ = run(capsys, *toy_runs(toy, tmp_path / "stop", *more))
    assert result["num_trained"] == 6 and result["flops"] < 7 * spent


def test_a_ddo_of_the_pool_ends_in_autoscale(toy, tmp_path, capsys):
    _, result, _ = run(capsys, *toy_runs(toy, tmp_path / "ddo", "--design", "ddo", "--repeats", 2))
    assert result["method"] == "autoscale" and result["num_trained"] == 14
    assert result["weight_intervals"] is not None and sum(result["weights"].values()) == pytest.approx(1)
    rows = read_csv(tmp_path / "ddo" / "runs.csv")
    assert float(rows[8]["data"]) == pytest.approx(5 / 3, abs=0.01)  # the first raised one, of two repeats each


def test_validation_pairs_proposed_natural_uniform_and_best_observed(toy, found, tmp_path, capsys):
    arguments = ("validate", "--pool", toy / "pool", "--targets", f"cooking={toy / 'cooking'}", "--mixtures",
                 f"proposed={found}", "--model", "30k", "--tokens", 1536, "--batch-size", 8, "--seeds", 3,
                 "--workers", 1, "--quiet", "--out", tmp_path / "v")  # fmt: skip
    _, result, _ = run(capsys, *arguments)
    assert set(result["arms"]) == {"proposed", "natural", "uniform", "best-observed"}
    assert {row["baseline"] for row in result["paired"]} == {"natural", "uniform", "best-observed"}
    assert all(row["n"] == 3 and row["low"] <= row["mean"] <= row["high"] for row in result["paired"])
    natural = next(row for row in result["paired"] if row["baseline"] == "natural")
    assert natural["mean"] < 0
    assert (Path(result["path"]) / "report.html").exists()
    assert result["training"]["learning_rate"] == learning_rate(1) and result["training"]["shuffle_sequences"]
    assert run(capsys, *arguments)[1]["built"] is False


def test_scores_become_a_mixture(toy, tmp_path, capsys):
    folder = tmp_path
    quiet = ("--quiet",)
    assert main(["train", "--pool", str(toy / "pool"), "--model", "20k", "--out", str(folder / "m"), *quiet]) == 0
    for name in ("pool", "cooking"):
        assert main(["featurize", "--models", str(folder / "m"), "--examples", str(toy / name), "--k", "32", "--out",
                     str(folder / f"{name}-f"), *quiet]) == 0  # fmt: skip
    assert main(["score", "--pool", str(folder / "pool-f"), "--targets", f"cooking={folder / 'cooking-f'}", "--out",
                 str(folder / "s"), *quiet]) == 0  # fmt: skip
    _, result, _ = run(capsys, "scores", "--scores", folder / "s", "--pool", toy / "pool", "--resamples", 5, "--quiet")
    assert result["method"] == "domain-dsdm" and sum(result["weights"].values()) == pytest.approx(1)
    assert max(result["usefulness"]["cooking"], key=result["usefulness"]["cooking"].get) == "cooking"
    assert result["weights"]["cooking"] > result["baselines"]["natural"]["cooking"]
    status, _, error = run(capsys, "scores", "--scores", folder / "s", "--pool", toy / "cooking")
    assert status == 2 and "does not score" in error


def test_doremi_trains_reweights_and_says_how_stable_it_is(toy, tmp_path, capsys):
    arguments = ("doremi", "--pool", toy / "pool", "--model", "20k", "--tokens", 1024, "--batch-size", 8, "--seeds", 2,
                 "--quiet", "--out", tmp_path / "d")  # fmt: skip
    _, result, _ = run(capsys, *arguments)
    assert sum(result["weights"].values()) == pytest.approx(1) and len(result["by_run"]) == 2
    assert result["num_steps"] == 8 and result["weight_intervals"] is not None
    assert run(capsys, *arguments)[1]["weights"] == result["weights"]


def test_a_pool_without_domains_and_bad_counts_are_refused(toy, tmp_path, capsys):
    target = f"cooking={toy / 'cooking'}"
    status, _, error = run(capsys, "runs", "--pool", toy / "cooking", "--targets", target, "--out", tmp_path / "x")
    assert status == 2 and "fewer than 2 domains" in error
    status, _, error = run(capsys, *toy_runs(toy, tmp_path / "x", "--batch", 0))
    assert status == 2 and "--batch 0 cannot be; give a number from 1" in error
    for more, words in (
        (("--runs", 2), "teach nothing"),
        (("--method", "autoscale"), "is fitted to a ddo"),
        (("--method", "magic"), "is unknown"),
        (("--target-weights", "maths=1"), "no target is called"),
        (("--design", "spiral"), "is unknown"),
        (("--budget", 1e12), "the ceilings sum to"),
        (("--max-repeats", 2), "needs --budget"),
        (("--resamples", -1), "--resamples -1"),
    ):
        status, _, error = run(capsys, *toy_runs(toy, tmp_path / "x", *more))
        assert status == 2 and words in error and not (tmp_path / "x" / "models").exists()
    status, _, error = run(capsys, *toy_runs(toy, tmp_path / "x", "--design", "ddo", "--runs", 5))
    assert status == 2 and "has 7 runs" in error
    foreign = ("prepare", "--data", toy / "cooking.jsonl", "--id", "id", "--sequence-length", 16, "--vocab-size", 320,
               "--quiet", "--out", tmp_path / "foreign")  # fmt: skip
    assert main([*map(str, foreign)]) == 0
    both = (f"a={toy / 'cooking'}", f"cooking={tmp_path / 'foreign'}")
    status, _, error = run(capsys, *toy_runs(toy, tmp_path / "x", targets=both))
    assert status == 2 and "tokenizer" in error and not (tmp_path / "x" / "models").exists()
    (tmp_path / "no.json").write_text("[]")
    (tmp_path / "long.json").write_text('{"weights": {"cooking": ' + "1" * 400 + "}}")
    arguments = ("validate", "--pool", toy / "pool", "--targets", target, "--out", tmp_path / "v", "--mixtures")
    for mixture, words in (
        (f"p={tmp_path / 'no.json'}", "is no proposal"),
        (f"p={tmp_path / 'long.json'}", "is no proposal"),
        (f"natural={tmp_path}", "stands for"),
    ):
        status, _, error = run(capsys, *arguments, mixture)
        assert status == 2 and words in error


def test_a_run_on_a_mixture_sees_exact_shares_of_tokens_and_shares_them_with_others(toy):
    pool = open_examples(toy / "pool")

    def seen(weights):
        """domain -> the documents and the number of tokens that an epoch of 900 tokens takes of it."""
        order = Order(pool, np.arange(len(pool)), weights, TrainConfig(batch_size=4), seed=3, budget=900)
        owners = np.concatenate([order.batch(step).owners.ravel() for step in range(order.num_steps)])
        owners = owners[owners >= 0]
        names = pool.domains[owners]
        return {name: (set(owners[names == name].tolist()), int((names == name).sum())) for name in set(names)}

    half = seen({"cooking": 0.5, "sailing": 0.5, "numbers": 0.0})
    assert {name: count for name, (_, count) in half.items()} == {"cooking": 450, "sailing": 450}
    other = seen({"cooking": 0.1, "sailing": 0.5, "numbers": 0.4})
    assert {name: count for name, (_, count) in other.items()} == {"cooking": 90, "sailing": 450, "numbers": 360}
    assert other["cooking"][0] < half["cooking"][0] and other["sailing"][0] == half["sailing"][0]
    with pytest.raises(InputError, match="no example of domain 'poems'; its domains are cooking, numbers, sailing"):
        check_domains(np.asarray(pool.domains), {"poems": 1.0})


def test_a_run_s_budget_is_in_tokens_or_in_average_documents(toy):
    pool = open_examples(toy / "pool")
    assert run_budget(pool, 777, 10) == 777
    assert run_budget(pool, None, 12) == round(12 * pool.lengths().mean())
    with pytest.raises(InputError, match="--tokens 0 trains nothing"):
        run_budget(pool, 0, 10)


@pytest.mark.parametrize("written, changed", [("--no-shuffle-sequences", {"shuffle_sequences": False}), ("", {}),
                                              ("--compile", {"compile": True})])  # fmt: skip
def test_the_line_that_replays_a_command_says_switches_as_they_are_read(written, changed):
    line = command_line("doremi", DoReMi(pool=Path("pool"), out=Path("out"), **changed))
    assert [part for part in line.split() if part not in "thresher mix doremi --pool pool --out out"] == written.split()
