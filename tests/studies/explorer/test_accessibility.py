"""No serious finding of axe-core in any view, light or dark."""

import pytest

from tests.studies import axe

VIEWS = ("examples", "one", "domains", "keep", "labels")


@axe.NEEDED
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("subject", ["text_page", "picture_page"])
def test_no_view_has_a_serious_finding(open_page, subject, scheme, request):
    page = open_page(request.getfixturevalue(subject))
    page.emulate_media(color_scheme=scheme)
    page.select_option("#pick-target", index=page.locator("#pick-target option").count() - 1)
    findings = []
    for name in VIEWS:
        tab = page.locator(f'nav [data-view="{name}"]')
        if not tab.count():
            continue
        tab.click()
        if name == "examples":
            page.locator(".card .do-mark").first.click()
            page.click('[aria-label="The next example"]')
        findings += axe.findings(page, name)
    assert findings == [], "\n".join(findings)
