"""The page of a report needs nothing but itself, and the JSON beside it replays it."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from tests.studies.report.made import LONG, full_report, runs
from thresher.errors import InputError
from thresher.intervals import MeanInterval
from thresher.selection.statistics.comparison import Measurement
from thresher.studies.report import charts
from thresher.studies.report.content import (
    Choice,
    Example,
    Leak,
    Report,
    Results,
    Worth,
)
from thresher.studies.report.render import read_report, render, write_report
from thresher.studies.report.results import rows_of


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
        charts.domains(report.choice.domain_shares, "tokens"),
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
        sizes[width] = min(float(size) for size in re.findall(r"font(?:-size)?:[^;]*?([\d.]+)px", svg)) * pixels / drawn
    assert sizes[charts.NARROW] >= 0.9 * sizes[charts.WIDE] >= 11
    page = render(report)
    assert page.count('class="at-narrow"') == page.count('class="at-wide"') == 4


def test_names_in_any_script_and_with_dollar_signs_are_drawn_as_they_are():
    svg = charts.domains({"小说": {"before": 0.5, "after": 0.2}, "a$b$<c>": {"before": 0.5, "after": 0.8}}, "examples")
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
