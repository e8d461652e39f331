"""The words of a text, the same however it is written: in any script, case and Unicode form."""

import re
import unicodedata
import zlib
from functools import lru_cache

# Written without spaces, and a character is much of a word: Chinese and Japanese.
IDEOGRAPHS = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# Written without spaces, and several characters are a word: Thai, Lao, Burmese, Khmer.
CLUSTERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
LONGEST_IDEOGRAPHS, LONGEST_CLUSTERS = 4, 8
"""Runs of so many characters are a word as they stand: who puts spaces between words has cut them."""
CLUSTERS_A_WORD = 3
# Seen by nobody: joiners, soft hyphens, directions, variation selectors. A zero-width space parts words.
UNSEEN = re.compile("[\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]")  # fmt: skip  # noqa: E501
APOSTROPHE = "\u02bc"
"""By Unicode a letter; others write a quotation mark there, which parts words."""
ASCII_WORD = re.compile("[a-z0-9]+")
ASCII_WORD_OR_SIGNS = re.compile(r"[a-z0-9]+|[^\w\s]+")
RULE = (
    "letters, digits and their marks, whatever the case and form; Chinese and Japanese by character, "
    "scripts of South East Asia without spaces in pieces of about 3 characters"
)


def words_of(text: str) -> list[str]:
    """The words of `text`: runs of letters and digits with the marks that belong to them (vowel signs, accents).

    Case is folded and compatible forms are one (NFKC): full width, ligatures, composed and decomposed accents. Chinese
    and Japanese, which put no spaces between words, count by character. In a run of Thai, Lao, Burmese or Khmer longer
    than 8 characters a word ends where a hash of the characters on both sides says so, every 3 on the average: copies
    are cut at the same places, whatever stands around them, and about as many words are counted as there are.
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    words: list[str] = []
    for word in _patterns()[0].findall(_folded(text)):
        words += [word] if word.isascii() else _cut(word)
    return words


def words_and_signs_of(text: str) -> list[str]:
    """The words of `text`, and between them the runs of other characters (punctuation, symbols), in order."""
    if text.isascii():
        return ASCII_WORD_OR_SIGNS.findall(text.lower())
    found: list[str] = []
    for match in _patterns()[3].finditer(_folded(text)):
        own = match.group()
        found += [own] if own.isascii() or match.lastgroup == "signs" else _cut(own)
    return found


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", UNSEEN.sub("", text.replace(APOSTROPHE, "'"))).casefold()
    # The Turkish capital of i is an i with a dot above, once it is folded; the i without a dot is one in capitals.
    return unicodedata.normalize("NFKC", folded).replace("i\u0307", "i").replace("\u0131", "i").replace("_", " ")


def _cut(word: str) -> list[str]:
    """A run of letters, cut where its script changes to one without spaces, and that where words may end."""
    _, parts, characters, _ = _patterns()
    cut: list[str] = []
    for match in parts.finditer(word):
        part = match.group()
        if match.lastgroup is None:
            cut.append(part)
            continue
        letters = characters.findall(part)
        if match.lastgroup == "ideographs":
            cut += letters if len(letters) > LONGEST_IDEOGRAPHS else [part]
        else:
            cut += _pieces(letters) if len(letters) > LONGEST_CLUSTERS else [part]
    return cut


def _pieces(clusters: list[str]) -> list[str]:
    pieces, start = [], 0
    for place in range(1, len(clusters)):
        if zlib.crc32((clusters[place - 1] + clusters[place]).encode("utf-8", "surrogatepass")) % CLUSTERS_A_WORD == 0:
            pieces.append("".join(clusters[start:place]))
            start = place
    return [*pieces, "".join(clusters[start:])]


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern, re.Pattern, re.Pattern, re.Pattern]:
    """Words; the parts of one by script; the characters of a part, each with its marks; words and signs."""
    marks = _marks()
    word = re.compile(f"\\w[\\w{marks}]*")
    parts = re.compile(
        f"(?P<ideographs>(?:(?![{marks}])[{IDEOGRAPHS}][{marks}]*)+)|(?P<clusters>[{CLUSTERS}][{CLUSTERS}{marks}]*)|"
        f"[^{IDEOGRAPHS}{CLUSTERS}]+"
    )
    characters = re.compile(f"[^{marks}][{marks}]*|[{marks}]+")
    return word, parts, characters, re.compile(f"(?P<word>{word.pattern})|(?P<signs>[^\\w\\s]+)")


def _marks() -> str:
    """All characters of the categories Mn, Mc and Me, as ranges of a character class.

    They lie in the first two planes; those of the last are variation selectors, which are taken away before.
    """
    found = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M")]
    starts = [code for before, code in zip([0, *found], found, strict=False) if code != before + 1]
    ends = [code for code, after in zip(found, [*found[1:], 0], strict=True) if after != code + 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
