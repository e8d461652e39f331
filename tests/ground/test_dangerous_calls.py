"""Calls that would run what is read: none of them stands in the code, beyond those that are named here with why."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("thresher", "cli", "proxies", "attribution", "selection", "studies")
# Reading by any of these can run code of whoever wrote the file, or a shell.
FORBIDDEN = [
    r"\bpickle\.loads?\(",
    r"torch\.load\((?!.*weights_only=True)",
    r"allow_pickle=True",
    r"trust_remote_code=(?!False)",
    r"weights_only=False",
    r"\byaml\.(?!safe_)",
    r"(?<![.\w])eval\((?!\))",
    r"(?<![.\w])exec\(",
    r"shell=True",
    r"os\.(system|popen)\(",
    r"\bmarshal\.loads?\(",
    r"\bshelve\.open\(",
    r"tempfile\.mktemp\(",
    r"\bjoblib\.load\(",
    r"extractall\(",
]
# What a worker of a Ray cluster is sent comes from its own driver; docs/security.md says so.
KNOWN = {("thresher/executors/ray_cluster.py", r"\bpickle\.loads?\(")}


def sources() -> list[Path]:
    files = {file.resolve() for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}
    return sorted(file for file in files if ".venv" not in file.parts)


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_source_makes_a_dangerous_call(pattern):
    assert len(sources()) > 200
    hits = [
        (file.relative_to(ROOT).as_posix(), number, line.strip())
        for file in sources()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert [hit for hit in hits if (hit[0], pattern) not in KNOWN] == []


@pytest.mark.parametrize("page", sorted((ROOT / "studies" / "report").glob("*.html")), ids=lambda page: page.name)
def test_no_template_fetches_or_runs_anything(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<script|<iframe|<link|https?://|@import|\|\s*safe|autoescape false|\son\w+=", text)
    assert "<head>" not in text or "{{ head }}" in text
