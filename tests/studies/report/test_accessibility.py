"""Report, card and mixture page: no serious finding of axe-core, and no wider than the window they are read in."""

import pytest

from tests.studies import axe
from tests.studies.report.made import full_report
from thresher.cli.main import main
from thresher.studies.report.render import write_report


@pytest.fixture(scope="session")
def report_page(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(full_report(), out)
    return out.as_uri()


@pytest.fixture(scope="session")
def card_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    (folder / "pool.jsonl").write_text(
        "".join(f'{{"text": "a word and {i} more", "source": "s{i % 3}"}}\n' for i in range(40))
    )
    prepare = ["prepare", "--data", folder / "pool.jsonl", "--domain", "source", "--vocab-size", 300]
    select = [
        "select",
        "--method",
        "random",
        "--fraction",
        0.5,
        "--pool",
        folder / "pool",
        "--export",
        folder / "export",
    ]
    for words in ([*prepare, "--out", folder / "pool"], [*select, "--out", folder / "subset"]):
        assert main([*map(str, words), "--quiet"]) == 0
    return (folder / "export" / "card.html").as_uri()


@pytest.fixture(scope="session")
def mixture_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    rows = [(a / 10, 1 - a / 10, 3 - a / 20 + a * a / 300, 2 + a / 30) for a in range(11)]
    lines = ["weight_web,weight_books,loss_x,loss_y", *(",".join(map(str, row)) for row in rows)]
    (folder / "runs.csv").write_text("\n".join(lines) + "\n")
    words = [
        "mix",
        "table",
        folder / "runs.csv",
        "--method",
        "exponential",
        "--resamples",
        10,
        "--out",
        folder / "mixture",
    ]
    assert main([*map(str, words), "--quiet"]) == 0
    return next(folder.rglob("*.html")).as_uri()


@pytest.mark.parametrize("name", ["report_page", "card_page", "mixture_page"])
def test_a_page_fits_its_window(open_page, name, request):
    page = open_page(request.getfixturevalue(name))
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.locator("main h1").count() == 1


@axe.NEEDED
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report_page", "card_page", "mixture_page"])
def test_a_page_has_no_serious_finding(open_page, name, scheme, request):
    page = open_page(request.getfixturevalue(name))
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    findings = axe.findings(page, name)
    assert findings == [], "\n".join(findings)
