"""`thresher mix` as a person or a script meets it: tables, plans, runs, scores, DoReMi, validation, bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.pages import active_parts
from tests.selection.mixture.cases import DOMAINS, TABLES, TARGETS, made_runs, needs_tables, true_losses
from tests.toy_corpus import write_corpus
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.errors import InputError
from thresher.places import published, read_json
from thresher.proxies import TrainConfig
from thresher.proxies.training.order import Order
from thresher.selection.mixture.methods import METHODS
from thresher.studies.experiments.training_sets import check_domains, supply
from thresher.studies.mixtures.runs import run_budget


def run(capsys, *arguments):
    """(status, the JSON object on stdout or None, stderr) of one `thresher mix` line."""
    capsys.readouterr()
    status = main(["mix", *map(str, arguments), "--json", "--quiet"])
    printed = capsys.readouterr()
    assert status == 0 or printed.out == ""
    return status, json.loads(printed.out) if printed.out else None, printed.err


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, weights, losses, domains=DOMAINS, targets=TARGETS) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"weight_{d}" for d in domains), *(f"loss_{t}" for t in targets)])
        writer.writerows([*w, *y] for w, y in zip(weights, losses, strict=True))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("tables") / "runs.csv", *made_runs(44, 0.02))


QUICK = ("--resamples", 6, "--quiet")


@pytest.mark.parametrize("method", [*METHODS, "uniform", "natural", "best-observed"])
def test_every_method_proposes_from_a_table(method, table, capsys):
    status, result, _ = run(capsys, "table", table, "--method", method, *QUICK)
    assert status == 0 and result["method"] == method
    assert sum(result["weights"].values()) == pytest.approx(1) and list(result["weights"]) == list(DOMAINS)
    if method == "utilimax":
        assert result["predicted_losses"] is None
    else:
        assert (
            set(result["predicted_losses"]) == set(result["loss_intervals"]) == set(result["held_out"]) == set(TARGETS)
        )
    if method in ("uniform", "natural", "best-observed"):
        assert result["weights"] == pytest.approx(result["baselines"][method.replace("-", " ")])
        assert result["gains"][method.replace("-", " ")]["mean"] == pytest.approx(0)


def test_the_default_finds_a_truly_better_mixture_and_writes_its_page(table, tmp_path, capsys):
    options = ("--floors", "law=0.01", "--out", tmp_path / "found", "--next", 3, *QUICK)
    _, result, _ = run(capsys, "table", table, *options)
    best = np.array([list(result["weights"].values())])
    uniform = np.full((1, 4), 0.25)
    assert true_losses(best).mean() < true_losses(uniform).mean() - 0.1
    assert result["gains"]["uniform"]["low"] > 0
    assert len(result["next_runs"]) == 3 and all(sum(row.values()) == pytest.approx(1) for row in result["next_runs"])
    page = (tmp_path / "found" / "report.html").read_text()
    assert f"thresher mix table {published(table, Path.cwd())} --floors law=0.01 --resamples 6 --next 3 --out" in page
    assert "<svg" in page and not active_parts(page) and "books" in page
    assert read_json(tmp_path / "found" / "mixture.json") == result | {"report": "report.html"}


def test_what_a_person_reads_has_weights_gains_and_warnings(table, capsys):
    assert main(["mix", "table", str(table), *map(str, QUICK), "--floors", "law=0.3", "--next", "1"]) == 0
    printed = capsys.readouterr().out
    said = ("domain", "[95 %]", "predicted gain over natural", "held-out qa: rmse", "warning: on a bound: ")
    for words in (*said, "run next: ", "law (floor 0.3)", "warning: the natural mixture is unknown"):
        assert words in printed


@pytest.mark.slow
def test_test_rows_are_scored_and_decide_nothing(table, tmp_path, capsys):
    weights, losses = made_runs(12, 0.02, seed=9)
    honest = write_table(tmp_path / "test.csv", weights, losses)
    absurd = write_table(tmp_path / "absurd.csv", weights, losses[::-1] * 3)
    found = [
        run(capsys, "table", table, "--method", "regmix", "--test", path, "--resamples", 0, "--quiet")[1]
        for path in (honest, absurd)
    ]
    scores = [result.pop("test") for result in found]
    assert found[0] == found[1] and scores[0]["qa"]["rmse"] < scores[1]["qa"]["rmse"]
    assert scores[0]["qa"]["num_runs"] == 12
    parts = run(capsys, "table", table, "--test-fraction", 0.25, "--resamples", 0, "--quiet")[1]
    assert (
        parts["num_runs"] == 33 and parts["test"]["proofs"]["num_runs"] == 11 and parts["test"]["qa"]["spearman"] > 0.8
    )


def test_columns_come_from_a_file_and_several_tables_join(tmp_path, capsys):
    weights, losses = made_runs(25, 0.02)
    for name, head, values in (("w", DOMAINS, weights), ("l", TARGETS, losses)):
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *(f"{name}/{column}" for column in head)])
            writer.writerows([number, *row] for number, row in enumerate(values.tolist()))
    (tmp_path / "c.toml").write_text('weights = "w/*"\nlosses = ["l/*"]\nindex = "id"\n')
    files = (tmp_path / "w.csv", tmp_path / "l.csv")
    status, result, _ = run(capsys, "table", *files, "--columns", tmp_path / "c.toml", "--resamples", 0, "--quiet")
    assert status == 0 and list(result["weights"]) == list(DOMAINS)


def test_supply_caps_the_mixture_and_makes_it_natural(table, capsys):
    tokens = [f"{domain}={count}" for domain, count in zip(DOMAINS, (1e6, 2e6, 6e6, 1e6), strict=True)]
    arguments = ("table", table, "--tokens", *tokens, "--budget", 8e6, "--max-repeats", "books=4", *QUICK)
    _, result, _ = run(capsys, *arguments)
    assert result["baselines"]["natural"] == pytest.approx(dict(zip(DOMAINS, (0.1, 0.2, 0.6, 0.1), strict=True)))
    assert result["weights"]["code"] <= 0.25 + 1e-9 and result["weights"]["books"] <= 0.5 + 1e-9
    assert any("on a bound" in text for text in result["warnings"])


def test_losses_are_read_at_another_step_and_size(tmp_path, capsys):
    weights, _ = made_runs(15)
    with open(tmp_path / "long.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *(f"weight_{d}" for d in DOMAINS), "loss_qa"])
        for mixture in weights:
            base = true_losses(mixture[None])[0, 0]
            writer.writerows([step, *mixture, base + (100 / step) ** 0.5] for step in (1000, 2000, 4000))
    arguments = (
        "table",
        tmp_path / "long.csv",
        "--step-column",
        "step",
        "--at-step",
        8000,
        "--resamples",
        0,
        "--quiet",
    )
    _, result, _ = run(capsys, *arguments, "--method", "exponential")
    best = np.array([list(result["weights"].values())])
    expected = true_losses(best)[0, 0] + (100 / 8000) ** 0.5
    assert result["predicted_losses"]["qa"] == pytest.approx(expected, abs=1e-3)


def rewritten(change):
    weights, losses = made_runs(10)
    return change(weights.copy(), losses.copy())


def set_cell(array, row, column, value):
    array[row, column] = value
    return array


BAD_TABLES = {
    "sum to 1.3": lambda w, y: (set_cell(w, 2, 0, w[2, 0] + 0.3), y),
    "weights are 0 or more": lambda w, y: (set_cell(w, 2, 0, -0.1), y),
    "not a number": lambda w, y: (w, set_cell(y, 1, 1, np.nan)),
    "same loss in every run": lambda w, y: (w, set_cell(y, slice(None), 0, 2.5)),
    "its effect cannot be learnt": lambda w, y: (
        np.column_stack([w[:, :3] * 0.8 / w[:, :3].sum(1)[:, None], w[:, 3] * 0 + 0.2]),
        y,
    ),
    "teach nothing": lambda w, y: (w[:2], y[:2]),
}


@pytest.mark.parametrize("words", BAD_TABLES)
def test_bad_tables_are_one_line(words, tmp_path, capsys):
    path = write_table(tmp_path / "bad.csv", *rewritten(BAD_TABLES[words]))
    status, _, error = run(capsys, "table", path, *QUICK)
    assert status == 2 and words in error and error.count("\n") == 1


def test_repairs_are_said(tmp_path, capsys):
    weights, losses = made_runs(12, 0.02)
    weights = np.column_stack([weights.round(3), np.zeros(12)])
    path = write_table(tmp_path / "t.csv", [*weights, weights[0]], [*losses, losses[0]], (*DOMAINS, "empty"))
    _, result, _ = run(capsys, "table", path, *QUICK)
    text = " / ".join(result["repairs"])
    assert "exact copies" in text and "no run used: empty" in text and "empty" not in result["weights"]


BAD_OPTIONS = {
    "no target is called 'nothing'": ("--target-weights", "nothing=1"),
    "cannot be read": ("--floors", "law"),
    "floors sum to 1.2": ("--floors", "law=0.6", "code=0.6"),
    "ceilings sum to": ("--ceilings", *(f"{domain}=0.1" for domain in DOMAINS)),
    "must be at least": ("--floors", "law=0.5", "--ceilings", "law=0.2"),
    "which is no domain": ("--floors", "poems=0.1"),
    "caps nothing without --tokens": ("--budget", "1e9"),
    "--budget 'nan' is no number": ("--budget", "nan", "--tokens", *(f"{domain}=1" for domain in DOMAINS)),
    "--kl-weight 'nan' is no number": ("--kl-weight", "nan"),
    "no token count for domain": ("--budget", "1e9", "--tokens", "law=1e9"),
    "needs --budget": ("--max-repeats", "4"),
    "is unknown": ("--method", "magic"),
    "needs excess losses": ("--method", "doremi"),
    "the table holds no DDO": ("--method", "autoscale"),
    "two ways to the same": ("--test", __file__, "--test-fraction", "0.2"),
    "give a number above 0, up to 1": ("--test-fraction", "1.5"),
    "no mixture in the bounds is within KL": ("--max-kl", "0.001", "--floors", "law=0.9"),
    "no column is called 'epoch'": ("--step-column", "epoch", "--at-step", "5"),
    "belong together": ("--at-size", "5"),
    "--resamples -1": ("--resamples", "-1"),
    "predicts no losses": ("--method", "utilimax", "--next", "2"),
}


@pytest.mark.parametrize("words", BAD_OPTIONS)
def test_bad_options_are_one_line(words, table, capsys):
    status, _, error = run(capsys, "table", table, "--resamples", 2, "--quiet", *BAD_OPTIONS[words])
    assert status == 2 and words in error and error.count("\n") == 1


def test_a_plan_is_a_table_without_losses(tmp_path, capsys):
    _, plan, _ = run(capsys, "plan", *DOMAINS, "--design", "ddo", "--out", tmp_path / "plan.csv")
    assert len(plan["runs"]) == 9 and plan["data_relative_to_base"][1] == pytest.approx((3 + 0.2) / 4)
    rows = read_csv(tmp_path / "plan.csv")
    assert float(rows[5]["weight_books"]) == pytest.approx(3 / 6)
    _, plan, _ = run(capsys, "plan", *DOMAINS, "--runs", 7, "--floors", "law=0.3")
    assert len(plan["runs"]) == 7 and min(row["law"] for row in plan["runs"]) >= 0.3 - 1e-9
    status, _, error = run(capsys, "plan", "books", "books")
    assert status == 2 and "each once" in error


@pytest.mark.shared_data
@needs_tables
def test_autoscale_on_the_released_table_gives_the_released_answers(capsys):
    names = "common_crawl github books wiki c4 stackexchange arxiv".split()
    table = TABLES / "autoscale_ddo_gpt2large_1.2B_ppl.csv"
    arguments = ("table", table, "--method", "autoscale", "--ddo-order", *names, "--loss-columns", "average")
    _, result, _ = run(capsys, *arguments)
    expected = np.array([1.624754, 0.2, 1.274152, 1.179796, 1.851900, 0.637164, 0.232236]) / 7
    np.testing.assert_allclose(list(result["weights"].values()), expected, atol=1e-5)
    assert result["fits"]["github"] == pytest.approx((6.616176, 1.436001, 0.945822), abs=1e-5)


# Runs of a toy pool.


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
    arguments = ("validate", "--pool", toy / "pool", "--targets", target, "--out", tmp_path / "v", "--mixtures")
    for mixture, words in ((f"p={tmp_path / 'no.json'}", "is no proposal"), (f"natural={tmp_path}", "stands for")):
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
