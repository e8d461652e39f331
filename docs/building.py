"""How these pages become a site: what `mkdocs build` asks of us, and docstrings in the form that Markdown shows.

In the pages, as in docstrings, `docs/NAME.md` is text that can be followed anywhere; the site makes a link of it.
"""

import re

import griffe

NAMED = re.compile(r"`?\bdocs/([\w/-]+\.md)\b`?")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
COLUMNS = re.compile(r"\w+(?:, \w+)*  +\S")
ENTRY = re.compile(r"(\w+(?:, \w+)*) +(\S.*)")


def on_page_markdown(markdown: str, *, page, files, **_) -> str:
    """Links where a page is named, outside of blocks of code and of links."""
    up = "../" * page.file.src_uri.count("/")

    def linked(match: re.Match) -> str:
        found = files.get_file_from_path(match[1])
        if found is None or match.string[: match.start()].endswith(("](", "[")):
            return match[0]
        return f"[{match[1].removesuffix('.md')}]({up}{match[1]})"

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else NAMED.sub(linked, part) for part in parts)


class Tables(griffe.Extension):
    """Arguments in a docstring, a name and what it is in two columns, as a list."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Rewrite the docstring of a function, a class or an attribute."""
        if obj.docstring:
            obj.docstring.value = listed(obj.docstring.value)


def listed(text: str) -> str:
    """`text` with its paragraphs of two columns as lists."""
    return "\n\n".join(map(_listed, text.split("\n\n")))


def _listed(paragraph: str) -> str:
    lines = paragraph.splitlines()
    if not lines or not COLUMNS.match(lines[0]):
        return paragraph
    entries: list[str] = []
    for line in lines:
        entry = ENTRY.fullmatch(line)
        if entry:
            entries.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            entries[-1] += f" {line.strip()}"
    return "\n".join(entries)
