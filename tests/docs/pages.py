"""The pages of the documentation: their blocks of code, and what a person may type among them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    """The name of the file it is, or "" where it is no file."""
    code: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [
        Block(language, "".join(re.findall(r'title="(.*?)"', attributes)), code) for language, attributes, code in found
    ]


def commands(block: Block) -> list[str]:
    """The commands of a block of the shell, those over several lines as one."""
    return [line for line in block.code.replace("\\\n", " ").splitlines() if line.strip()]
