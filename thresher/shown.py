"""Names and texts of strangers, written so that no terminal, spreadsheet or reader's eye obeys them; times."""

import unicodedata

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that a terminal obeys or nobody sees: controls, directions, joiners, half pairs, separators."""
PROSE = "\n\t\u200c\u200d"
"""What a text may hold all the same: line breaks, and the joiners that Persian, Hindi and emoji are written with."""
LONGEST = 2000
"""Characters of a message; what is longer is cut in the middle."""


def shown(text: str, keep: str = "") -> str:
    """`text` with what a terminal would obey or nobody would see written as an escape; `keep` stays as it is.

    Escape sequences, other control characters, bidirectional overrides and zero-width characters come as
    escapes of their numbers, so that a name cannot colour, erase or reorder the line that it stands in.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or unicodedata.category(char) not in HIDDEN else ascii(char)[1:-1] for char in text
    )


def as_line(text: str) -> str:
    """`text` as one line of at most `LONGEST` characters that is safe to print."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def cell(text: str) -> str:
    """`text` as a field of a table of comma-separated values, which no spreadsheet takes for a formula.

    What begins like one gets an apostrophe in front, as spreadsheets write it themselves; numbers stay numbers.
    """
    text = shown(text)
    if not text.startswith(("=", "+", "-", "@")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def duration(seconds: float) -> str:
    """Seconds as a person says them, to one unit: 40 s, 3 min, 5 h, 2 days."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def with_interval(value: float, low: float, high: float) -> str:
    """A number and its interval, to three decimals: 0.912 [0.853, 0.957]."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def size_of(num_bytes: float) -> str:
    """Bytes as a person says them, to two digits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{float(f'{num_bytes / size:.2g}'):,g} {unit}"
    return "less than 1 MB"
