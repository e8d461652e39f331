"""The explorer's page: one file that needs nothing else, whose policy lets nothing run but the scripts written here.

The script is the files of `SCRIPTS` behind each other, in their order; the policy names its hash. The data stand in a
script element of type `application/json`, which no browser runs, and every text of theirs is shown as text alone.
"""

import base64
import html
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from thresher import __version__
from thresher.places import MARK
from thresher.shown import shown
from thresher.studies.explorer.packing import as_json

FOLDER = Path(__file__).parent / "page"
SCRIPTS = (
    "text", "data", "documents", "state", "query", "filters", "marks", "cards", "lists", "charts", "domains",
    "threshold", "labels", "keys", "main",
)  # fmt: skip
STYLES = ("base", "query", "cards", "views", "phone")
SLOT = re.compile(r"\{\{(\w+)\}\}")


def page_of(content: Mapping[str, Any], *, served: bool = False) -> str:
    """The page of `content_of`; `served`: documents come from the server that gave the page, and from nowhere else."""
    style, script = _joined(STYLES, ".css"), _script()
    policy = (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; style-src 'sha256-{_hash(style)}'; img-src data:; "
        f"connect-src {chr(39)}{'self' if served else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'"
    )
    slots = {
        "policy": policy,
        "generator": f"{MARK} {__version__}",
        "title": html.escape(shown(str(content["title"]))),
        "style": style,
        "script": script,
        "data": as_json({**content, "served": served}),
    }
    return SLOT.sub(lambda slot: slots[slot.group(1)], (FOLDER / "page.html").read_text(encoding="utf-8"))


def _script() -> str:
    return f'"use strict";\n(() => {{\n{_joined(SCRIPTS, ".js")}\n}})();\n'


@cache
def _joined(names: tuple[str, ...], suffix: str) -> str:
    return "\n".join((FOLDER / f"{name}{suffix}").read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """As a browser computes it, of what stands between the tags."""
    return base64.b64encode(sha256(text.encode()).digest()).decode()
