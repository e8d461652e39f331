"""What axe-core says of a page. AXE_CORE names its axe.min.js (npm pack axe-core gives one)."""

import os
from pathlib import Path

import pytest

SCRIPT = os.environ.get("AXE_CORE")
NEEDED = pytest.mark.skipif(SCRIPT is None, reason="AXE_CORE names no axe.min.js (npm pack axe-core gives one)")


def findings(page, where: str) -> list[str]:
    """What is worse than minor in the page as it stands, one line each."""
    assert SCRIPT is not None
    page.evaluate(Path(SCRIPT).read_text(encoding="utf-8"))
    result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{where}: {one['impact']} {one['id']} {one['nodes'][0]['html'][:160]}"
        for one in result["violations"]
        if one["impact"] in ("serious", "critical", "moderate")
    ]
