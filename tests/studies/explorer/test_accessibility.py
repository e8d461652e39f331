"""No serious finding of axe-core in any view, light or dark. AXE_CORE names its axe.min.js (npm pack axe-core)."""

import os
from pathlib import Path

import pytest

AXE = os.environ.get("AXE_CORE")
VIEWS = ("examples", "one", "domains", "keep", "labels")


@pytest.mark.skipif(AXE is None, reason="AXE_CORE names no axe.min.js (npm pack axe-core gives one)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("subject", ["text_page", "picture_page"])
def test_no_view_has_a_serious_finding(open_page, subject, scheme, request):
    assert AXE is not None
    script, page = Path(AXE).read_text(encoding="utf-8"), open_page(request.getfixturevalue(subject))
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
        page.evaluate(script)
        result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        findings += [
            f"{name}: {one['impact']} {one['id']} {one['nodes'][0]['html'][:160]}"
            for one in result["violations"]
            if one["impact"] in ("serious", "critical", "moderate")
        ]
    assert findings == [], "\n".join(findings)
