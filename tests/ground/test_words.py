"""Words in any script: marks belong to them, and the same text is the same words however it is written."""

import random
import unicodedata

import pytest

from thresher.data.text.documents import Document
from thresher.data.text.overlap import Finder
from thresher.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, re-use foo_bar 3.5!", "don t stop re use foo bar 3 5"),
        ("नदी किताब, हिन्दी।", "नदी किताब हिन्दी"),
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("مُحَمَّد كتب", "مُحَمَّد كتب"),
        ("שָׁלוֹם", "שָׁלוֹם"),
        ("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002", "\u4eca \u5929 \u5929 \u6c14 \u5f88 \u597d"),
        ("\u5929\u6c14 \u5f88\u597d", "\u5929\u6c14 \u5f88\u597d"),  # cut by who wrote it
        ("これはペンです", "こ れ は ペ ン で す"),
        ("iPhone\u624b\u673a", "iphone \u624b\u673a"),
        ("\ud55c\uad6d\uc5b4 \ub2e8\uc5b4", "\ud55c\uad6d\uc5b4 \ub2e8\uc5b4"),
        ("บ้าน น้ำ", "บ้าน " + "น้ำ"),
        ("x\u00b2 \u00bd", "x2 1 2"),
        ("\U0001f600 ok \U0001f468\u200d\U0001f469", "ok"),
        ("", ""),
    ],
)  # fmt: skip
def test_words_of_every_script(text, words):
    assert words_of(text) == unicodedata.normalize("NFKC", words).split()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\xe9 \xc5ngstr\xf6m", "cafe\u0301 A\u030angstro\u0308m"),
        ("Stra\xdfe STRASSE \u1e9e", "STRASSE stra\xdfe ss"),
        ("\u0130stanbul ISPARTA", "istanbul \u0131sparta"),
        ("\uff26\uff55\uff4c\uff4c \uff11\uff12", "full 12"),
        ("\ufb01nal o\ufb03ce", "final office"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"),
        ("co\u00adoperate zero\u2060width \u200emark", "cooperate zerowidth mark"),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u0937"),
        ("don\u2019t don\u02bct", "don't don't"),
        ("\u304c", "\u304b\u3099"),
        ("\u1112\u1161\u11ab", "\ud55c"),
        ("\ufeffword", "word"),
        ("\u2764\ufe0f love", "\u2764 love"),
    ],
)
def test_the_same_text_is_the_same_words_however_it_is_written(one, other):
    assert words_of(one) == words_of(other) != []


def test_different_words_stay_different():
    assert words_of("\u0915\u093f") != words_of("\u0915\u0940")  # another vowel sign
    assert words_of("cafe") != words_of("caf\xe9")
    assert words_of("\u0e21\u0e32 \u0e21\u0e49\u0e32")[0] != words_of("\u0e21\u0e32 \u0e21\u0e49\u0e32")[1]
    assert words_of("\u0e01\u0e32\u200b\u0e02\u0e32") == [
        "\u0e01\u0e32",
        "\u0e02\u0e32",
    ]  # a space of no width parts words


SCRIPTS = {
    "Hindi": ("\u0915\u0916\u0917\u091a\u091c\u091f\u0921\u0924", "\u093e\u093f\u0940\u0941\u0942\u0947", " "),
    "Tamil": ("\u0b95\u0b9a\u0b9f\u0ba4\u0baa\u0bae", "\u0bbe\u0bbf\u0bc0\u0bc1\u0bc6\u0bcb", " "),
    "Arabic": ("\u0628\u062a\u062b\u062c\u062d\u062e", "\u064e\u064f\u0650\u0651", " "),
    "Thai with spaces": ("\u0e01\u0e02\u0e04\u0e07\u0e08\u0e09", "\u0e31\u0e34\u0e35\u0e36\u0e37", " "),
    "Thai": ("\u0e01\u0e02\u0e04\u0e07\u0e08\u0e09\u0e0a", "\u0e31\u0e34\u0e35\u0e36\u0e37\u0e49", ""),
    "Khmer": ("\u1780\u1781\u1782\u1783\u1784\u1785", "\u17b6\u17b7\u17b8\u17bb\u17bc", ""),
    "Burmese": ("\u1000\u1001\u1002\u1003\u1005\u1006", "\u102c\u102d\u102e\u102f\u1030", ""),
    "Lao": ("\u0e81\u0e82\u0e84\u0e87\u0e88\u0e8a", "\u0eb1\u0eb4\u0eb5\u0eb6\u0eb7", ""),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_five_shared_words_are_not_thirteen_and_a_copy_is_found_in_every_script(name):
    consonants, vowels, space = SCRIPTS[name]
    draw = random.Random(0)

    def some(count):
        letters = range(3 if space else 4)
        return ["".join(draw.choice(consonants) + draw.choice(vowels) for _ in letters) for _ in range(count)]

    documents = [some(60) for _ in range(40)]
    pool = [Document(str(n), "", space.join(own)) for n, own in enumerate(documents)]
    few = [Document(str(n), "", space.join(some(20) + documents[n][10:15] + some(20))) for n in range(20)]
    many = [Document(str(n), "", space.join(some(20) + documents[n][10:40] + some(20))) for n in range(20)]
    assert list(Finder({"t": few}, 13).hits(pool)) == []
    found = {(hit.document, hit.example) for hit in Finder({"t": many}, 13).hits(pool)}
    assert found == {(str(n), str(n)) for n in range(20)}


def test_chinese_is_compared_by_character():
    draw = random.Random(0)
    han = [chr(code) for code in range(0x4E00, 0x5200)]
    text = [draw.choice(han) for _ in range(200)]
    other = ["\u3402"] * 10
    for shared, hit in ((12, []), (13, ["0"])):
        target = Document("t", "", "".join(other + text[50 : 50 + shared] + other))
        assert [one.document for one in Finder({"t": [target]}, 13).hits([Document("0", "", "".join(text))])] == hit
