"""Every control of an explorer in a real browser, on a phone and on a desk, over hostile text."""

import re
from pathlib import Path

import pytest

from tests.studies.explorer.cases import HOSTILE
from thresher.artifacts import is_artifact
from thresher.cli.main import main


def expect(locator):
    from playwright.sync_api import expect  # where there is no browser, every test here is skipped

    return expect(locator)


def counted(page, number):
    """Waits until so many examples pass; a page's policy lets no test evaluate text there."""
    expect(page.locator("#count")).to_have_text(re.compile(rf"^{number} example"))


def cards(page, side="helpful"):
    return page.locator(f".{side} .card")


def texts(locator):
    return [" ".join(text.split()) for text in locator.all_inner_texts()]


def view(page, name):
    page.click(f'nav [data-view="{name}"]')


def unfold_filters(page, width):
    if width < 720:
        page.click("#others > summary")


def both(page):
    page.click('.sides [data-side="both"]')


def test_hostile_texts_ids_and_names_are_shown_and_white_space_is_kept(open_page, text_page, text):
    page = open_page(text_page)
    assert page.inner_text("h1") == f"Study {HOSTILE}" and page.title() == f"Study {HOSTILE}"
    assert "LDS of trak 0.25 [0.20, 0.30], n = 40 subsets" in page.inner_text("#about")
    assert "random" not in page.inner_text("#about")
    both(page)
    assert HOSTILE in page.inner_text("#view")
    order = (-text.table.by_target["<i>cooks"]).argsort(kind="stable")
    first = cards(page).first
    assert first.locator(".who .id").inner_text() == text.pool.ids[order[0]]
    document = text.pool.texts(order[:1])[0]
    shown = first.locator(".text").text_content()
    assert re.sub(r"\\u[0-9a-f]{4}|\\x[0-9a-f]{2}", "", shown) == re.sub(
        "[\u202e\u202c\u2066\u2069\x1b\x07]", "", document
    )
    assert first.locator(".text").evaluate("element => getComputedStyle(element).whiteSpace") == "pre-wrap"
    page.fill("#search", "turned")
    counted(page, "1[0-9]")
    assert "\\u202eturned\\u202c" in page.inner_text("#view") and "\u202e" not in page.inner_text("#view")


def test_the_query_stays_on_screen_and_steps_through_target_examples(open_page, text_page):
    page = open_page(text_page)
    both(page)
    assert "average of 8 examples" in page.inner_text("#subject")
    assert page.inner_text("#list-helpful").startswith("Helpful") and page.inner_text("#list-harmful").startswith(
        "Harmful"
    )
    page.click('[aria-label="The next example"]')
    assert page.input_value("#pick-example") == "1" and "what of" in page.inner_text("#subject")
    assert page.locator("#subject mark").inner_text().startswith("boil the rice 0")
    assert page.locator("#subject .given").inner_text().startswith("what of")
    page.evaluate("window.scrollTo(0, 900)")
    assert page.locator("#subject").bounding_box()["y"] >= 0
    page.fill("#pick-example", "99")
    page.keyboard.press("Enter")
    assert page.input_value("#pick-example") == "8" and "boil the rice 7" in page.inner_text("#subject")
    page.click('[aria-label="The example before"]')
    assert page.input_value("#pick-example") == "7"
    page.get_by_role("button", name="Average").click()
    assert "average of 8 examples" in page.inner_text("#subject")


def test_filters_search_sides_and_copies(open_page, text_page, width):
    page = open_page(text_page)
    unfold_filters(page, width)
    page.click('.sides [data-side="harmful"]')
    assert cards(page).count() == 0 and cards(page, "harmful").count() > 0
    both(page)
    page.select_option("#status", "kept")
    assert set(texts(page.locator("#view .kept"))) == {"kept"} and page.locator("#view .dropped").count() == 0
    page.select_option("#status", "dropped")
    assert page.locator("#view .kept").count() == 0
    page.select_option("#status", "")
    page.select_option("#domain", "1")
    names = set(texts(page.locator("#view .domain")))
    assert len(names) == 1 and page.inner_text("#count").startswith("30 examples")
    page.select_option("#domain", "")
    page.fill("#search", "HACKED = 2")  # in all ids but one
    expect(page.locator("#view .hit").first).to_have_text("hacked = 2")
    counted(page, "88")
    page.fill("#search", "no such words")
    counted(page, "0")
    assert "Nothing passes the filters." in page.inner_text("#view")
    page.fill("#search", "4  begins")
    counted(page, "8")
    page.fill("#search", "")
    counted(page, "89")
    page.uncheck("#fold")
    assert page.inner_text("#count").startswith("90 examples")
    page.check("#differ")
    flags = page.locator("#view .flag")
    assert (
        flags.count() == page.locator("#view .card").count() > 0
        and "1 of 2 proxies agree in sign" in flags.first.inner_text()
    )


def test_copies_are_listed_on_the_first_of_them(open_page, text_page):
    page = open_page(text_page)
    both(page)
    page.fill("#search", "7  begins")
    counted(page, "9")
    card = page.locator(".card", has=page.locator(".copies"))
    card.locator("summary").click()
    assert card.locator(".copies tbody tr").count() == 2 and "1 copy" in card.inner_text()


def test_pages_of_a_list(open_page, text_page):
    page = open_page(text_page)
    both(page)
    pager = page.get_by_role("group", name="Pages of helpful")
    assert "1 to 10" in pager.inner_text()
    first = cards(page).first.inner_text()
    pager.get_by_label("Next page").click()
    assert "11 to 20" in pager.inner_text() and cards(page).first.inner_text() != first
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Next page"
    pager.get_by_text("Last").click()
    assert pager.get_by_label("Next page").is_disabled()
    pager.get_by_text("First").click()
    assert cards(page).first.inner_text() == first
    assert "1 to 10" in page.get_by_role("group", name="Pages of harmful").inner_text()


def test_a_training_example_shows_whom_it_helped_and_hurt(open_page, text_page):
    page = open_page(text_page)
    id = cards(page).first.locator(".who .id").inner_text()
    cards(page).first.locator(".do-one").click()
    assert page.locator('nav [aria-current="page"]').inner_text() == "Of one training example"
    assert id in page.inner_text("#subject")
    both(page)
    assert page.inner_text("#list-helpful").startswith("Helped") and page.inner_text("#list-harmful").startswith("Hurt")
    assert page.locator(".card .given").first.inner_text().startswith("what of")
    page.click('[aria-label="The next example"]')
    assert id not in page.locator("#subject .id").inner_text()
    name = page.locator("#view .card .id").first.inner_text()
    page.locator("#view .card .do-one").first.click()
    assert (
        name in page.inner_text("#subject") and page.locator('nav [aria-current="page"]').inner_text() == "For a target"
    )


def test_domains_have_a_mean_each_and_lead_to_their_examples(open_page, text_page):
    page = open_page(text_page)
    view(page, "domains")
    rows = page.locator("table.domains tbody tr")
    assert rows.count() == 3 and "30" in rows.first.inner_text() and HOSTILE in rows.first.inner_text()
    means = [float(text.replace("\u2212", "-")) for text in texts(page.locator("table.domains td:nth-child(2)"))]
    assert means == sorted(means, reverse=True)
    rows.first.get_by_role("button").click()
    both(page)
    assert page.inner_text("#count").startswith("30 examples")


def test_a_threshold_is_dragged_and_its_command_keeps_what_it_says(open_page, text_page, text, tmp_path):
    page = open_page(text_page)
    view(page, "keep")
    assert page.input_value("#keep-number") == "30"
    box = page.locator(".histogram").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20, steps=4)
    page.mouse.up()
    fewer = int(page.input_value("#keep-number"))
    assert 0 < fewer < 90
    page.focus("#keep-range")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#keep-number") == str(fewer + 1)
    page.fill("#keep-number", "12")
    page.keyboard.press("Enter")
    scores = text.table.by_target["<i>cooks"]
    order = (-scores).argsort(kind="stable")[:12]
    tokens = int(text.pool.lengths()[order].sum())
    assert f"12 examples of 90 (13.3 %), {tokens:,} tokens" in page.inner_text(".facts")
    command = page.inner_text(".command code")
    assert command == "thresher select --scores scores --out subset --targets '<i>cooks' --count 12"
    out = tmp_path / "subset"
    words = ["select", "--scores", str(text.scores.path), "--targets", "<i>cooks", "--count", "12", "--out", str(out)]
    assert main([*words, "--quiet"]) == 0 and is_artifact(out)
    from thresher.selection.selection import open_selection

    assert set(open_selection(out).positions) == set(order)
    page.click(".panel details summary")
    assert page.locator(".panel details tbody tr").count() >= 5
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".command [role=status]")).to_have_text(re.compile("cop"))
    page.click("#mark-all")
    assert page.inner_text("#marks strong") == "12 marked"


def test_marks_become_a_list_of_ids_and_outlive_a_reload(open_page, text_page, text, width):
    page = open_page(text_page)
    unfold_filters(page, width)
    page.fill("#search", "=formula")
    counted(page, "[01]")
    both(page)
    page.locator(".card .do-mark").first.click()
    page.fill("#search", "")
    counted(page, "89")
    cards(page).first.locator(".do-mark").click()
    assert cards(page).first.locator(".do-mark").get_attribute("aria-pressed") == "true"
    assert page.inner_text("#marks strong") == "2 marked"
    page.check("#only-marked")
    assert page.locator(".card").count() == 2
    page.reload()
    assert page.inner_text("#marks strong") == "2 marked"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download ids.txt").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert download.value.suggested_filename == "ids.txt"
    assert len(lines) == 1 and lines[0] in text.pool.ids  # the id with a line break would forge another
    assert "1 id with a line break left out" in page.inner_text("#marks")
    page.get_by_role("button", name="Unmark all").click()
    assert page.locator("#marks").is_hidden()


def test_wrong_labels_are_listed_first_and_become_a_list_to_relabel(open_page, picture_page, width):
    page = open_page(picture_page)
    view(page, "labels")
    page.select_option("#pick-target", "1")
    suspects = page.locator(".suspect")
    assert suspects.count() == 6 and {f"p-{n}" for n in range(6)} == set(texts(page.locator(".suspect .id")))
    assert "given dark" in page.inner_text("#view") and "predicted bright" in page.inner_text("#view")
    assert suspects.first.locator("img").evaluate("image => image.naturalWidth") == 6
    page.uncheck("#unequal")
    assert suspects.count() == 20 and page.get_by_role("group", name="Pages of labels").is_visible()
    page.check("#unequal")
    suspects.nth(0).locator(".do-relabel").check()
    suspects.nth(1).locator("select").select_option("0")
    assert "relabel.csv (2)" in page.inner_text("#relabel")
    suspects.nth(2).locator(".do-relabel").check()
    suspects.nth(2).locator(".do-relabel").uncheck()
    with page.expect_download() as download:
        page.click("#relabel")
    head, *rows = Path(download.value.path()).read_text().splitlines()
    assert head == "id,given,label,predicted,confidence,score" and len(rows) == 2
    assert all(re.match(r"p-[0-5],(dark|bright),(dark|bright),(dark|bright),0\.\d+,-?[\d.e-]+$", row) for row in rows)


def test_scores_of_examples_for_themselves_find_wrong_labels_from_the_top(open_page, self_page):
    page = open_page(self_page)
    both(page)
    assert page.inner_text("#list-helpful").startswith("Highest") and page.inner_text("#list-harmful").startswith(
        "Lowest"
    )
    assert page.inner_text("#count").startswith("60 examples of 60")
    view(page, "labels")
    assert "A high score of an example for itself" in page.inner_text("#view")
    assert {f"p-{n}" for n in range(6)} == set(texts(page.locator(".suspect .id")))
    view(page, "one")
    assert "not known" in page.inner_text("#view")


def test_pictures_are_large_with_label_prediction_and_confidence(open_page, picture_page):
    page = open_page(picture_page)
    image = page.locator(".card img").first
    assert image.bounding_box()["width"] >= 90 and image.evaluate("image => image.naturalWidth") == 6
    assert re.search(r"label (dark|bright) · predicted", page.locator(".card .label").first.inner_text())
    page.select_option("#pick-target", "1")
    page.locator("#subject .thumb").nth(2).click()
    assert page.input_value("#pick-example") == "3" and "label" in page.inner_text("#subject")
    assert page.locator(".card").count() > 0


def test_everything_can_be_done_from_the_keyboard(open_page, text_page, width):
    page = open_page(text_page)
    press = page.keyboard.press
    focused = (
        "document.activeElement.closest('.card') && document.activeElement.closest('.card').getAttribute('aria-label')"
    )
    both(page)
    page.evaluate("document.activeElement.blur()")
    press("j")
    press("ArrowDown")
    assert page.evaluate(focused).startswith("2: ")
    press("k")
    assert page.evaluate(focused).startswith("1: ")
    press("l")
    assert page.evaluate("document.activeElement.closest('.side').className") == "side harmful"
    press("ArrowLeft")
    assert page.evaluate("document.activeElement.closest('.side').className") == "side helpful"
    press("m")
    assert page.inner_text("#marks strong") == "1 marked" and page.evaluate(focused).startswith("1: ")
    press("n")
    assert page.evaluate(focused).startswith("11: ")
    press("p")
    assert page.evaluate(focused).startswith("1: ")
    press("t")
    assert page.locator('nav [aria-current="page"]').inner_text() == "Of one training example"
    press("a")
    assert "average of 8" in page.inner_text("#subject")
    press("]")
    press("]")
    press("[")
    assert page.input_value("#pick-example") == "1"
    press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("j4")  # letters are the search's own
    assert page.input_value("#search") == "j4"
    press("Escape")
    press("3")
    assert page.locator("table.domains").is_visible()
    press("?")
    assert page.locator("dialog").is_visible() and "mark the example" in page.inner_text("dialog")
    press("Escape")
    assert page.locator("dialog").is_hidden()


def test_long_documents_unfold_whole(open_page, long_page):
    page = open_page(long_page)
    folded = cards(page).first.locator(".text")
    assert folded.bounding_box()["height"] < 400 and "last line" not in folded.text_content()
    cards(page).first.get_by_role("button", name="Whole document").click()
    unfolded = cards(page).first.locator(".text")
    assert unfolded.bounding_box()["height"] > 3000 and unfolded.text_content().endswith("last line")
    cards(page).first.focus()
    page.keyboard.press("o")
    assert cards(page).first.locator(".text").bounding_box()["height"] < 400


@pytest.mark.slow
def test_ten_thousand_documents_are_paged_searched_and_filtered(open_page, many_page, many, width):
    page = open_page(many_page)
    both(page)
    assert page.inner_text("#count").startswith("10,000 examples of 10,000")
    assert page.locator(".card").count() == 20 and page.locator("body *").count() < 1500
    assert "whole in this page" in page.inner_text("#missing") and "--serve" in page.inner_text("#missing")
    page.get_by_role("group", name="Pages of helpful").get_by_text("Last").click()
    assert page.locator(".card").count() > 10
    page.fill("#search", "doc-00042")
    counted(page, "1")
    page.fill("#search", "")
    unfold_filters(page, width)
    page.select_option("#domain", "3")
    counted(page, "833")
    view(page, "keep")
    page.fill("#keep-number", "2500")
    page.keyboard.press("Enter")
    assert "2,500 examples of 10,000 (25.0 %)" in page.inner_text(".facts")
    view(page, "domains")
    assert page.locator("table.domains tbody tr").count() == 12
    view(page, "one")
    assert page.locator(".card").count() > 0
