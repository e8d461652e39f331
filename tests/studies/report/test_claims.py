"""What a report says follows from its numbers."""

import dataclasses
import re

import numpy as np
import pytest

from tests.studies.report.made import full_report, runs
from thresher.intervals import MeanInterval
from thresher.selection.statistics.comparison import Measurement
from thresher.studies.report import numbers, story
from thresher.studies.report.content import (
    Held,
    Leak,
    Results,
    Stage,
    Worth,
    histogram_of,
)
from thresher.studies.report.render import read_report, render, write_report
from thresher.studies.report.results import rows_of, verdict


def test_the_page_opens_with_how_much_the_selection_helps_and_three_numbers():
    first, in_data = verdict(full_report())
    pattern = (
        r"selected 20 % of the pool lowers held-out target loss, .* by 0\.21\d \[0\.2\d+, 0\.2\d+\] .*n = 4 paired"
    )
    assert re.search(pattern, first) and "random_budgets" in in_data
    gain, cost, elsewhere = story.figures(full_report())
    assert gain.value.startswith("−0.21") and "n = 4 seeds" in gain.about and "cannot be told" not in gain.about
    assert cost.value == "2 ×" and "2 min 05 s" in cost.about
    assert elsewhere.value.startswith("+0.0") and "off target" in elsewhere.about
    page = render(full_report())
    order = [page.index(text) for text in (first[:40], ">Gain<", "Is it safe?", "Kept: the most", "How it was done")]
    assert order == sorted(order) and page.index("How it was done") < page.index("<h2>Cost</h2>")


def test_the_gain_is_told_in_data_where_random_budgets_were_trained():
    results = full_report().results

    def sentences(**worth):
        changed = dataclasses.replace(results, worth=[Worth(task="all tasks", **worth)])
        return verdict(full_report(results=changed))[1]

    told = sentences(alone=MeanInterval(2.4, 1.9, 3.1, 4), with_cost=MeanInterval(1.2, 0.9, 1.6, 4), beyond=True)
    assert told.startswith("That is like 2.40 [1.90, 3.10] times the random data")
    assert "counting the cost of selecting, 1.20 [0.90, 1.60]" in told and "beyond the amounts" in told
    assert "no equal in data" in sentences(alone=None)
    assert len(verdict(full_report(results=Results(runs=runs(dsdm=0.3), worth=results.worth)))) == 1  # no gain


def test_the_verdict_says_plainly_when_the_selection_hurts_or_nothing_can_be_told():
    worse = verdict(full_report(results=Results(runs=runs(["squad"], dsdm=0.3))))
    assert re.search(r"raises held-out target loss by 0\.(299|30\d) ", worse[0])
    assert len(worse) == 1
    same = verdict(full_report(results=Results(runs=runs(dsdm=0.0))))
    assert same[0].startswith("No difference can be told") and "the interval includes 0" in same[0]


def points(report):
    return {point.name: point for point in story.safety(report)}


def test_a_control_that_does_better_is_a_weak_point():
    better = points(full_report(results=Results(runs=runs(dsdm=-0.2, bm25=-0.3, bottom=0.4))))["Simpler ways"]
    assert "The best control is bm25" in better.text and "it does better" in better.text and better.weak
    worse = points(full_report())["Simpler ways"]
    assert "best control is bottom" in worse.text and "does worse" in worse.text and not worse.weak


def test_leakage_is_a_fact_with_what_it_changes():
    leak = Leak(
        target="<squad>", num_examples=200, num_examples_hit=30, num_documents_hit=44, num_words=13, left_out=True
    )
    out = points(full_report(leaks=[leak]))["Leakage"]
    assert "30 of 200 examples of <squad>" in out.text and "the gain is on clean examples" in out.text and not out.weak
    inside = points(full_report(leaks=[dataclasses.replace(leak, left_out=False)]))["Leakage"]
    assert inside.weak and "decontaminate = true" in inside.text
    measured = full_report(leaks=[dataclasses.replace(leak, left_out=False)], clean=MeanInterval(-0.1, -0.2, -0.05, 4))
    assert "without them loss changes by −0.100 [−0.200, −0.050], n = 4 seeds" in points(measured)["Leakage"].text
    some = dataclasses.replace(measured, clean_is_whole=False)
    assert "not all are" in points(some)["Leakage"].text
    none = points(full_report(leaks=[dataclasses.replace(leak, num_examples_hit=0, num_documents_hit=0)]))["Leakage"]
    assert "No target example" in none.text and not none.weak
    assert "Leakage" not in points(full_report())  # not looked for
    assert "&lt;squad&gt;" in render(full_report(leaks=[leak]))


def test_weak_points_are_few_seeds_targets_without_a_gain_and_a_proxy_that_cannot_be_judged():
    two = points(full_report(results=Results(runs=runs(seeds=2, dsdm=-0.2))))["Seeds"]
    assert two.weak and "n = 2" in two.text and not points(full_report())["Seeds"].weak
    split = [*runs(["squad"], dsdm=-0.2), *runs(["gsm8k"], dsdm=0.2)]
    targets = points(full_report(results=Results(runs=split)))["Targets"]
    assert targets.weak and "1 of 2 targets" in targets.text and "worse on gsm8k" in targets.text
    trust = dataclasses.replace(full_report().trust, sentence="Too few arms to tell.", can_tell=False)
    assert points(full_report(trust=trust))["Proxy"].weak


def test_the_proxy_s_table_says_which_pairs_count_how_many_are_told_apart_and_what_its_best_costs(tmp_path):
    report = full_report()
    page = render(report)
    assert "Pairs ordered alike</th>" in page and "2 of 3" in page and "0.012" in page and "[0.000, 0.045]" in page
    clear = dataclasses.replace(report.trust, measure="clear_accuracy")
    assert "Pairs ordered alike, of those told apart" in render(full_report(trust=clear))
    write_report(report, tmp_path / "report.html")
    assert read_report(tmp_path / "report.json").trust == report.trust
    row = Held(test_set="a", r2=0.8, spearman=0.5, accuracy=1.0, low=0.5, high=1.0)  # as reports were before
    assert "of 3</td>" not in render(full_report(trust=dataclasses.replace(report.trust, rows=[row])))


def test_how_it_was_done_is_about_a_hundred_words_of_the_report_s_own():
    text = story.how(full_report())
    assert 90 <= len(text.split()) <= 130 and "100 of 500" in text and "same 4 seeds" in text
    assert story.how(full_report(choice=None)) == "" and "reference" not in story.how(full_report(results=None))


def test_nothing_is_claimed_from_one_seed_or_without_a_reference():
    single = full_report(results=Results(runs=runs(seeds=1, dsdm=-0.2)))
    assert "nothing is claimed" in verdict(single)[0] and "lowers held-out" not in render(single)
    assert "nothing is claimed" in verdict(full_report(results=None))[0] and not story.figures(single)


def test_the_cost_is_left_out_when_a_part_of_it_is_unknown():
    stages = [Stage(name="train", seconds=1, flops=1e12), Stage(name="score", seconds=1)]
    assert story.figures(full_report(stages=stages))[1].value == "–"


def test_rows_hold_the_means_and_paired_differences_of_the_runs():
    measured = runs(dsdm=-0.2, bottom=0.4)
    rows = {(row.task, row.arm): row for row in rows_of(measured, Results(runs=measured))}
    assert list(rows)[:3] == [("squad", "random"), ("squad", "dsdm"), ("squad", "bottom")]
    losses = {key: np.array([r.loss for r in measured if (r.task, r.arm) == key]) for key in rows}
    for task in ("squad", "gsm8k"):
        row, difference = rows[task, "dsdm"], losses[task, "dsdm"] - losses[task, "random"]
        assert row.mean == pytest.approx(losses[task, "dsdm"].mean())
        assert row.difference.mean == pytest.approx(difference.mean())
        assert row.seeds == (0, 1, 2, 3)
    pooled = rows["all tasks", "dsdm"]
    assert pooled.mean == pytest.approx(np.mean([rows[task, "dsdm"].mean for task in ("squad", "gsm8k")]))
    assert rows["squad", "random"].difference is None


def test_a_run_that_diverged_stays_in_the_table():
    measured = [*runs(["squad"], dsdm=-0.2), *[Measurement("bm25", seed, "squad", float("nan")) for seed in range(4)]]
    measured[5] = dataclasses.replace(measured[5], loss=float("inf"))  # dsdm, seed 1
    rows = {row.arm: row for row in rows_of(measured, Results(runs=measured))}
    assert (rows["bm25"].num_diverged, rows["bm25"].difference) == (4, None)
    assert (rows["dsdm"].num_diverged, rows["dsdm"].seeds, rows["dsdm"].difference.n) == (1, (0, 2, 3), 3)
    page = render(full_report(results=Results(runs=measured)))
    assert "4 diverged" in page and "1 diverged" in page and ">nan<" not in page


def test_the_page_says_whether_the_proxy_s_decisions_held():
    page = render(full_report())
    assert "No proxy can be trusted with &lt;that&gt;." in page and "Losses at 0.4M against losses at 1.6M" in page
    assert re.search(r"The 3 ways to choose, trained at size 0\.4M too, from the same 4\s+seeds", page)


def test_the_histogram_counts_every_example_once():
    scores = np.random.default_rng(2).normal(size=301)
    bins = histogram_of(scores, np.arange(50), num_bins=13)
    assert (sum(bins.kept), sum(bins.dropped), len(bins.edges)) == (50, 251, 14)


def test_numbers_as_a_person_reads_them():
    assert [numbers.duration(s) for s in (0.42, 59.7, 185, 7620, None)] == [
        "0.4 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 07 min",
        "–",
    ]
    assert [numbers.scaled(v) for v in (394_000, 1_620_000, 2.03e13, 12, None)] == [
        "394 k",
        "1.62 M",
        "20.3 T",
        "12",
        "–",
    ]
    assert [numbers.signed(v) for v in (0.25, -0.25, -0.0001)] == ["+0.250", "−0.250", "0.000"]
