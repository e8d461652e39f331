"""`thresher mix table` and `plan` as a person or a script meets them: tables, proposals, pages, bad input."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.cli.mix.lines import read_csv, run, write_table
from tests.reliability.pages import active_parts
from tests.selection.mixture.cases import DOMAINS, TABLES, TARGETS, made_runs, needs_tables, true_losses
from thresher.cli.main import main
from thresher.places import published, read_json
from thresher.selection.mixture.methods import METHODS


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
    assert run(capsys, "table", table, *options)[1] == result


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
    said = ("--tokens", *(f"{domain}=10" for domain in (*DOMAINS, "empty")), "--floors", "empty=.1", "law=.1")
    _, result, _ = run(capsys, "table", path, *said, *QUICK)
    text = " / ".join(result["repairs"])
    assert "left out the tokens, floors of empty" in text and result["weights"]["law"] >= 0.1 - 1e-9
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
    "--mode is autoscale's alone": ("--method", "linear", "--mode", "X"),
    "--fitted-budget is autoscale's alone": ("--fitted-budget", "5"),
    "--floor-amount is autoscale's alone": ("--method", "linear", "--floor-amount", "9"),
    "--second is autoscale's alone": ("--second", __file__),
    "--index changes nothing beside --columns": ("--columns", __file__, "--index", "id"),
    "--ddo-factors changes nothing without --ddo-order": ("--ddo-factors", "0.5", "2"),
    "--at-step changes nothing beside --ddo-order": ("--ddo-order", "a", "b", "c", "--at-step", "5"),
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


BAD_PLANS = {
    "run 0 of a ddo gives 'books' 0.25, beyond its ceiling 0.2": ("--design", "ddo", "--ceilings", "books=0.2"),
    "beyond its floor 0.1": ("--design", "ddo", "--floors", "law=0.1"),
    "--prior changes nothing in a ddo": ("--design", "ddo", "--prior", "books=3"),
    "--high 5 is a ddo's alone": ("--high", "5"),
}


@pytest.mark.parametrize("words", BAD_PLANS)
def test_what_a_design_cannot_keep_to_is_refused(words, capsys):
    status, _, error = run(capsys, "plan", *DOMAINS, *BAD_PLANS[words])
    assert status == 2 and words in error and error.count("\n") == 1
    assert run(capsys, "plan", *DOMAINS, "--design", "ddo", "--ceilings", "books=0.6")[0] == 0


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
