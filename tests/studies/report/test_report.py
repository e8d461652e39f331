"""The report: what it says follows from its numbers, and the page needs nothing but itself."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.intervals import Interval, MeanInterval
from thresher.selection.statistics.comparison import Measurement
from thresher.studies.report import charts, numbers, story
from thresher.studies.report.content import (
    Choice,
    Example,
    Held,
    Leak,
    Model,
    NoisyLabels,
    Report,
    Reproduction,
    Results,
    SizeLoss,
    Stage,
    Trust,
    Worth,
    histogram_of,
)
from thresher.studies.report.render import read_report, render, write_report
from thresher.studies.report.results import rows_of, verdict

LONG = "A sentence that is told again. " * 40


def runs(tasks=("squad", "gsm8k"), seeds=4, **shift: float) -> list[Measurement]:
    """Losses with a seed effect that pairing cancels, and a little noise that it does not."""
    rng = np.random.default_rng(0)
    effect = rng.normal(size=seeds)
    return [
        Measurement(arm, seed, task, float(6 + by + effect[seed] + rng.normal(scale=0.001)))
        for task in tasks
        for arm, by in {"random": 0.0, **shift}.items()
        for seed in range(seeds)
    ]


def full_report(**changes) -> Report:
    scores = np.random.default_rng(1).normal(size=500)
    kept = np.argsort(-scores)[:100]
    parts = {
        "title": "Selecting <for> squad",
        "settings": {"Pool": "500 & more"},
        "choice": Choice(
            method="dsdm",
            num_pool=500,
            num_kept=100,
            seed=7,
            domain_shares={"law": {"before": 0.5, "after": 0.9}, "$we$b": {"before": 0.5, "after": 0.1}},
            top=[Example(id="a1", text="<script>alert(1)</script>", score=2.5, domain="law")],
            bottom=[Example(id="b2", text=LONG, score=-1.5, image="data:image/png;base64,AAAA")],
            histogram=histogram_of(scores, kept),
        ),
        "results": Results(runs=runs(dsdm=-0.21, bottom=0.4), off_target=runs(["law"], dsdm=0.05, bottom=0.1)),
        "models": [Model(name="proxy", parameters=394_000, count=2), Model(name="reference", parameters=1, flops=1e12)],
        "stages": [
            Stage(name="train proxies", seconds=125, flops=2e12),
            Stage(name="validate", seconds=9000, cached=True, selects=False),
        ],
        "noisy_labels": NoisyLabels(auc=0.87, low=0.85, high=0.89, num_noisy=180, num_examples=1797),
        "trust": Trust(
            size="0.4M",
            reference="1.6M",
            num_arms=3,
            num_seeds=4,
            sentence="No proxy can be trusted with <that>.",
            rows=[
                Held(
                    test_set="squad",
                    r2=0.8,
                    spearman=0.5,
                    accuracy=2 / 3,
                    low=0.0,
                    high=1.0,
                    regret=Interval(0.0123, 0.0, 0.045),
                    pairs_apart=2,
                )
            ],
            losses=[
                SizeLoss(size=size, recipe=arm, test_set="squad", loss=by)
                for size in ("0.4M", "1.6M")
                for by, arm in enumerate("abc")
            ],
        ),
        "reproduction": Reproduction(command="thresher run study.toml", study="[pool]", versions={"torch": "2"}),
    }
    return Report(**{**parts, **changes})


class Page(HTMLParser):
    """Every tag, and the headings."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open, self.headings = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)
            self.open.pop()


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


def test_the_page_refers_to_nothing_outside_itself():
    page = Page(render(full_report()))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"@import|url\((?!#)", render(full_report()))


def test_what_examples_and_settings_say_is_text_and_not_markup():
    page = render(full_report())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script" not in page
    assert "Selecting &lt;for&gt; squad" in page and "500 &amp; more" in page


def test_long_examples_are_shortened_and_whole_inside_details():
    page = render(full_report())
    found = re.search(
        r'<details><summary><span class="text short">(.*?)</span>.*?</summary>(.*?)</details>', page, re.DOTALL
    )
    short, whole = found.groups()
    assert len(short) < 250 and short.endswith("…") and LONG in whole
    assert page.count("<details>") == 1


def test_white_space_is_kept_and_the_targets_that_an_example_serves_are_named():
    code = "def f(x):\n    return x\n\n" * 20
    example = Example(id="c", text=code, score=1.0, targets={"squad": 1.25, "<b>": -0.5})
    page = render(Report(title="Code", choice=dataclasses.replace(full_report().choice, top=[example], bottom=[])))
    assert code in page and "def f(x):\n    return x …" in page
    assert "squad +1.250" in page and "&lt;b&gt; −0.500" in page


@pytest.mark.parametrize("text", [" " * 300, "x" * 300, "", "two\nlines"])
def test_texts_without_words_are_shown_too(text):
    choice = dataclasses.replace(full_report().choice, top=[], bottom=[Example(id="b", text=text, score=0.0)])
    assert text in render(Report(title="Odd", choice=choice))


def test_only_the_domains_that_changed_most_are_drawn():
    shares = {f"domain-{i}": {"before": 1 / 30, "after": i / 435} for i in range(30)}
    page = render(
        Report(title="Many", choice=Choice(method="dsdm", num_pool=9, num_kept=2, seed=0, domain_shares=shares))
    )
    assert "The 24 domains of 30" in page
    assert ">domain-29<" in page and ">domain-14<" not in page  # 14 / 435 is nearly 1 / 30


def test_the_page_says_whether_the_proxy_s_decisions_held():
    page = render(full_report())
    assert "No proxy can be trusted with &lt;that&gt;." in page and "Losses at 0.4M against losses at 1.6M" in page
    assert re.search(r"The 3 ways to choose, trained at size 0\.4M too, from the same 4\s+seeds", page)


def test_absent_parts_leave_nothing_behind():
    assert Page(render(Report(title="Empty"))).headings == ["Empty"]
    whole = Page(render(full_report())).headings
    absent = {"choice": None, "models": (), "stages": (), "noisy_labels": None, "settings": {}, "reproduction": None}
    gone = ["What was selected", "Kept: the most helpful", "Dropped: the least helpful", "Models", "Cost"]
    gone += ["Wrong labels", "Settings", "How to reproduce", "study.toml", "How it was done", "Domains and scores"]
    assert set(gone) < set(whole)
    without = Page(render(full_report(**absent))).headings
    assert without == [heading for heading in whole if heading not in gone]


def test_captions_tell_n_and_seeds():
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", render(full_report()), re.DOTALL)
    assert len(captions) == 4
    assert all("seed" in caption.lower() and "interval" in caption for caption in captions)
    assert "Seeds 0, 1, 2, 3." in captions[0] and "n = 500" in captions[1]


def test_charts_are_well_formed_deterministic_and_use_the_colours_of_the_page():
    report = full_report()
    drawings = [
        charts.forest(rows_of(report.results.runs, report.results), "random"),
        charts.domains(report.choice.domain_shares),
        charts.histogram(report.choice.histogram),
        charts.histogram(report.choice.histogram, charts.NARROW),
    ]
    identifiers = []
    for svg in drawings:
        declared = svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
        identifiers += [node.get("id") for node in ElementTree.fromstring(declared).iter() if node.get("id")]
        assert "var(--accent)" in svg and not re.search(r"(fill|stroke): #(?!000000)", svg)
    assert len(set(identifiers)) == len(identifiers)
    assert render(report) == render(report)


def test_on_a_phone_a_chart_s_text_is_as_large_as_on_a_wide_page():
    """Pixels of the text are its size in the drawing by the page's width over the drawing's."""
    report = full_report()
    rows = rows_of(report.results.runs, report.results)
    sizes = {}
    for width, pixels in ((charts.WIDE, 752), (charts.NARROW, 325)):
        svg = charts.forest(rows, "random", width)
        drawn = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
        sizes[width] = min(float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)) * pixels / drawn
    assert sizes[charts.NARROW] >= 0.9 * sizes[charts.WIDE] >= 11
    page = render(report)
    assert page.count('class="at-narrow"') == page.count('class="at-wide"') == 4


def test_names_in_any_script_and_with_dollar_signs_are_drawn_as_they_are():
    svg = charts.domains({"小说": {"before": 0.5, "after": 0.2}, "a$b$<c>": {"before": 0.5, "after": 0.8}})
    assert "小说" in svg and "a$b$&lt;c&gt;" in svg


def test_the_json_beside_the_page_replays_it(tmp_path):
    leak = Leak(target="a", num_examples=2, num_examples_hit=1, num_documents_hit=1, num_words=13, left_out=False)
    worth = [Worth(task="all tasks", alone=MeanInterval(2.0, 1.5, 2.5, 4)), Worth(task="squad", alone=None)]
    report = full_report(leaks=[leak], results=dataclasses.replace(full_report().results, worth=worth))
    write_report(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert render(read_report(tmp_path / "report.json")) == page == render(report)
    assert json.loads((tmp_path / "report.json").read_text())["choice"]["num_kept"] == 100


def test_a_diverged_run_is_null_in_the_json_and_replays(tmp_path):
    measured = [*runs(["squad"], dsdm=-0.2), *[Measurement("bm25", seed, "squad", float("nan")) for seed in range(4)]]
    report = full_report(results=Results(runs=measured))
    write_report(report, tmp_path / "report.html")
    assert "NaN" not in (tmp_path / "report.json").read_text()
    assert render(read_report(tmp_path / "report.json")) == render(report)


def test_a_file_that_is_no_report_is_refused_in_one_line(tmp_path):
    (tmp_path / "other.json").write_text('{"titel": 1}')
    with pytest.raises(InputError, match="not a report"):
        read_report(tmp_path / "other.json")
    with pytest.raises(InputError, match="does not exist"):
        read_report(tmp_path / "none.json")


def test_an_image_from_elsewhere_is_refused_and_overwrites_nothing(tmp_path):
    out = tmp_path / "report.html"
    write_report(full_report(), out)
    before = out.read_bytes()
    linked = Example(id="x", text="cat", score=0.0, image="https://example.org/cat.png")
    choice = dataclasses.replace(full_report().choice, top=[linked])
    with pytest.raises(InputError, match=r"'https://example.org/cat.png' is not in the page"):
        write_report(full_report(choice=choice), out)
    assert out.read_bytes() == before


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
