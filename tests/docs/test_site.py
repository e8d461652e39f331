"""The pages agree with each other and with the program; the site itself is built by a slow test."""

import re
import subprocess
import sys

import pytest
import yaml

import thresher
from tests.docs.pages import DOCS, ROOT, blocks
from thresher import integrations
from thresher.cli.main import COMMANDS
from thresher.cli.mix import ACTIONS as MIX
from thresher.cli.study import ACTIONS as STUDY
from thresher.studies.report.story import GLOSSARY
from thresher.studies.study_file import read_study

PAGES = sorted(DOCS.rglob("*.md"))
EVERY = [*(name for name in COMMANDS if name not in ("mix", "study")), *(f"mix {name}" for name in MIX)]
EVERY += [f"study {name}" for name in STUDY]


def in_navigation(entries):
    """The pages of a part of the navigation."""
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else in_navigation(value)


def anchors(text):
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[ -]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


def test_every_page_is_in_the_navigation_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = list(in_navigation(site["nav"]))
    assert sorted(pages) == [page.relative_to(DOCS).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_hold(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {link}"
        if anchor and not anchor.startswith("thresher"):
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{page.name}: {link}"


def test_pages_named_in_text_are_there():
    for page in [ROOT / "README.md", *PAGES]:
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.mark.parametrize("name", EVERY)
def test_every_command_stands_in_which_command_do_i_want(name):
    assert f"`thresher {name}`" in (DOCS / "commands.md").read_text()


def test_every_public_name_is_in_the_reference():
    named = re.findall(r"^::: thresher\.([\w.]+)$", (DOCS / "api.md").read_text(), re.M)
    assert sorted(named) == sorted([*thresher.__all__, *(f"integrations.{name}" for name in integrations.__all__)])


def test_the_study_on_its_page_can_be_read(tmp_path):
    (block,) = (block for block in blocks(DOCS / "study-file.md") if block.title == "study.toml")
    (tmp_path / "study.toml").write_text(block.code)
    study = read_study(tmp_path / "study.toml")
    assert study.pool.decontaminate and set(study.target) == {"squad", "arc", "manual"}


def test_the_glossary_has_the_words_of_the_report():
    text = (DOCS / "glossary.md").read_text()
    for word, meaning in GLOSSARY.items():
        assert re.search(rf"^\| `?{re.escape(word)}`? \| {re.escape(meaning)} \|$", text, re.M), word


def test_what_the_pages_show_is_small():
    shown = [file for file in DOCS.rglob("*") if file.is_file() and file.suffix not in (".md", ".py", ".pyc")]
    assert sum(file.stat().st_size for file in shown) < 500_000


def test_arguments_in_two_columns_become_a_list():
    pytest.importorskip("griffe")
    sys.path.insert(0, str(DOCS))
    try:
        from building import listed
    finally:
        sys.path.remove(str(DOCS))
    words = "A sentence,  with spaces.\n\n"
    text = words + "x, y  two numbers\nz     another,\n      over lines\nlonger_name one\n\nAnd words."
    told = words + "- `x, y`: two numbers\n- `z`: another, over lines\n- `longer_name`: one\n\nAnd words."
    assert listed(text) == told


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*src=\"?https?:[^>]*|<link[^>]*stylesheet[^>]*https?:[^>]*",
                             page.read_text(encoding="utf-8"))  # fmt: skip
        assert not fetched, (page, fetched)
    reference = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert all(f'id="thresher.{name}"' in reference for name in thresher.__all__)
