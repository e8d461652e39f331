"""What a page would run or fetch, read as a browser reads it."""

import re
from html.parser import HTMLParser

ACTIVE = ("script", "iframe", "object", "embed", "link", "base", "form")
POLICY = "default-src 'none'"
INSIDE = ("#", "data:image/")


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
            fetches = name in ("src", "href", "xlink:href", "srcset", "action", "data") and not value.startswith(INSIDE)
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
