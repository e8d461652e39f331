"""What a page would run or fetch, read as a browser reads it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

ACTIVE = ("script", "iframe", "object", "embed", "link", "base", "form")
POLICY = "default-src 'none'"
INSIDE = ("#", "data:image/")
BESIDE = ("explorer.html",)
"""Pages of ours that a page may lead to."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.policies: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ACTIVE:
            self.found.append(tag)
        if tag == "meta" and values.get("http-equiv", "").lower() == "content-security-policy":
            self.policies.append(values["content"])
        for name, value in values.items():
            inside = value.startswith(INSIDE) or value in BESIDE
            fetches = name in ("src", "href", "xlink:href", "srcset", "action", "data") and not inside
            if name.startswith("on") or fetches:
                self.found.append(f"{tag} {name}={value[:40]}")


def active_parts(text: str, needs_policy: bool = True) -> list[str]:
    """Scripts, handlers and addresses in a page; of a page (not a chart), also that it lacks a policy against them."""
    page = _Page()
    page.feed(text)
    styles = re.findall(
        r"@import|url\(['\"]?(?:https?:|//)[^)]*", "".join(re.findall(r"<style.*?</style>", text, re.S))
    )
    lacking = ["no policy"] if needs_policy and not any(POLICY in policy for policy in page.policies) else []
    return page.found + styles + lacking


def explorer_faults(text: str) -> list[str]:
    """What an explorer's page would run beside its own script, whose hash its policy names, or fetch."""
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S)
    policy = "".join(_policies(text))
    digest = base64.b64encode(hashlib.sha256(scripts[-1][1].encode()).digest()).decode()
    faults = [] if f"script-src 'sha256-{digest}'" in policy and POLICY in policy else ["a policy without the script"]
    faults += [] if "unsafe" not in policy and "http" not in policy else ["a policy that lets more in"]
    faults += [] if [given for given, _ in scripts] == [' type="application/json" id="data"', ""] else ["other scripts"]
    without = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    return faults + active_parts(without, needs_policy=False)


def _policies(text: str) -> list[str]:
    page = _Page()
    page.feed(text)
    return page.policies
