"""What the tokenizer makes of documents: the tokens of the whole text, told apart by the characters they hold."""

import json
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from tests.data.text.tokenizers_of_each_kind import KINDS, WORDS, byte_level, digits_by_threes, metaspace, unigram
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.text import pieces
from thresher.data.text.as_text import TextReader
from thresher.data.text.byte_level import byte_places
from thresher.data.text.documents import Document, as_one_text
from thresher.data.text.encoding import UNKNOWN, encode
from thresher.errors import InputError

BOUNDARIES = [
    ("the cat", "sat on"),
    ("the cat ", "sat on"),
    ("the cat   ", "sat on"),
    ("the cat", " sat on"),
    ("the cat\n", "sat on"),
    ("the cat\r\n", "sat on"),
    ("the cat", "\n\nsat on"),
    ("the cat", ", and so on"),
    ("", "sat on"),
    ("   ", "sat on"),
    ("hello 😀", "👩‍💻 sat"),
    ("你", "好 x"),
    ("cafe\n", "\u0301e"),
    ("מה", "שלום"),
    ("12\n", "345"),
]


@pytest.fixture(params=KINDS, scope="module")
def tokenizer(request):
    return KINDS[request.param]()


def whole_text(tokenizer, text):
    """Ids and places as the tokenizer gives them for the whole text, without what a post-processor does to places."""
    described = json.loads(tokenizer.to_str())
    alone = Tokenizer.from_str(json.dumps(described | {"post_processor": None}))
    alone.encode_special_tokens = True
    return alone.encode(text, add_special_tokens=False)


def encoded(tokenizer, *documents, bad=None):
    return list(encode(documents, tokenizer, bad))


@pytest.mark.parametrize(("prompt", "text"), BOUNDARIES)
def test_prompt_and_continuation_are_one_text_and_no_token_gives_the_continuation_away(tokenizer, prompt, text):
    choices = (text, "the end", "x")
    document = Document("0", "", text, prompt, choices, 0)
    one = encoded(tokenizer, document)[0]
    for piece, choice in zip([one.piece, *one.choices], [text, *choices], strict=True):
        whole = as_one_text(prompt, choice)
        right = whole_text(tokenizer, whole)
        assert piece.tokens.tolist() == right.ids
        given = len(prompt.rstrip(" "))
        holds = [
            any(start < end and given < end for start, end in right.offsets[: n + 1]) for n in range(len(right.ids))
        ]
        assert piece.first == (holds.index(True) if True in holds else len(holds))


def test_a_token_that_begins_in_the_prompt_and_ends_in_the_continuation_is_predicted():
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "\n": 2, "\n\n": 3}, [("\n", "\n")]))
    apart, across = encoded(tokenizer, Document("0", "", "b", "a\n"), Document("1", "", "\nb", "a\n"))
    assert (apart.piece.tokens.tolist(), apart.piece.first) == ([0, 2, 1], 2)
    assert (across.piece.tokens.tolist(), across.piece.first) == ([0, 3, 1], 1)


@pytest.mark.parametrize("end", [" ", "   "])
def test_spaces_at_the_end_of_a_prompt_change_which_tokens_are_predicted_only_by_themselves(end):
    bare, spaced = (
        encoded(byte_level(), Document("0", "", "sat on", prompt))[0].piece for prompt in ("the cat", f"the cat{end}")
    )
    assert bare.first == spaced.first == 2
    tokenizer = byte_level()
    assert tokenizer.decode(spaced.tokens[spaced.first :].tolist()) == f"{end}sat on"


def test_a_joining_space_stands_only_where_there_is_none():
    assert as_one_text("a", "b") == "a b"
    assert as_one_text("a ", "b") == "a b" and as_one_text("a", " b") == "a b" and as_one_text("a\n", "b") == "a\nb"
    assert as_one_text("", "b") == "b" and as_one_text("a", ", b") == "a , b"


def test_a_cut_before_a_break_never_parts_a_character(tokenizer):
    draw = np.random.default_rng(0)
    text = " ".join(draw.choice(WORDS, 300))
    piece = encoded(tokenizer, Document("0", "", text))[0].piece
    offsets = whole_text(tokenizer, text).offsets
    for number in range(1, len(offsets)):
        inside = offsets[number][0] < max(end for _, end in offsets[:number])
        letter = text[offsets[number][0]]
        combines = letter in "\u0301\u200d\u0e35\u0e49\u093f\u094d\u0940" or text[offsets[number][0] - 1] == "\u200d"
        assert piece.breaks[number] == (not inside and not combines)


def test_bytes_of_one_character_are_never_parted():
    tokenizer = byte_level()
    text = "é😀好 x 👩‍💻 é" * 20
    piece = encoded(tokenizer, Document("0", "", text))[0].piece
    cuts = [0, *np.flatnonzero(piece.breaks)[1:].tolist(), len(piece.tokens)]
    parts = [tokenizer.decode(piece.tokens[start:end].tolist()) for start, end in pairwise(cuts)]
    assert "".join(parts) == text and "\ufffd" not in "".join(parts) and "👩‍💻" in parts


def test_long_texts_have_the_tokens_of_the_whole_in_pieces_too(tokenizer, monkeypatch):
    draw = np.random.default_rng(1)
    spaces = np.array([" ", " ", "", "  "])
    texts = ["".join(np.char.add(draw.choice(WORDS, size), draw.choice(spaces, size))) for size in (1, 40, 500, 3000)]
    right = [whole_text(tokenizer, text).ids for text in texts]
    monkeypatch.setattr(pieces, "PIECE", 700)
    monkeypatch.setattr(pieces, "OVERLAP", 150)
    assert len(pieces.pieces_of(texts[-1])) > 10
    made = encoded(tokenizer, *[Document(str(n), "", text) for n, text in enumerate(texts)])
    assert [one.piece.tokens.tolist() for one in made] == right


def test_places_counted_by_bytes_are_those_that_the_tokenizer_gives():
    draw = np.random.default_rng(2)
    for tokenizer in (byte_level(), digits_by_threes(), byte_level(prefix=True)):
        tokenizer.add_tokens([AddedToken("hello", normalized=False), AddedToken("sat", lstrip=True, normalized=False)])
        reader = TextReader(tokenizer)
        texts = ["", *(" ".join(draw.choice([*WORDS, "<|endoftext|>"], size)) for size in (1, 3, 10, 200))]
        for text, placed in zip(texts, reader(texts), strict=True):
            right = whole_text(tokenizer, text)
            assert placed.ids.tolist() == right.ids
            assert list(zip(placed.starts.tolist(), placed.ends.tolist(), strict=True)) == right.offsets


def test_places_are_counted_by_bytes_only_where_bytes_are_kept():
    assert byte_places(byte_level()) is not None and byte_places(digits_by_threes()) is not None
    for name in ("byte-level with a prefix", "metaspace", "prepending", "unigram", "word pieces"):
        assert byte_places(KINDS[name]()) is None


def test_pieces_cover_a_text_and_overlap_on_both_sides_of_each_cut(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 100)
    monkeypatch.setattr(pieces, "OVERLAP", 10)
    assert pieces.pieces_of("x" * 60) == [(0, 60)] and pieces.pieces_of("") == [(0, 0)]
    assert pieces.pieces_of("x" * 270) == [(0, 110), (90, 210), (190, 270)]


@pytest.mark.parametrize("run", ["7" * 2000, "a" * 2000, " " * 2000, "=" * 2001, "\n" * 1999, "😀" * 1500])
def test_a_run_without_any_place_to_cut_is_tokenised_as_a_whole(run, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 100)
    monkeypatch.setattr(pieces, "OVERLAP", 20)
    for tokenizer in (digits_by_threes(), metaspace()):
        text = f"the cat {run} sat on the mat"
        assert encoded(tokenizer, Document("0", "", text))[0].piece.tokens.tolist() == whole_text(tokenizer, text).ids


@pytest.mark.parametrize("name", ["<|endoftext|>", "<|im_start|>"])
def test_the_name_of_a_special_token_in_a_document_stays_text(name):
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|im_start|>"])
    text = f"the {name} cat{name}"
    tokens = encoded(tokenizer, Document("0", "", text))[0].piece.tokens.tolist()
    assert tokenizer.token_to_id(name) not in tokens
    assert tokenizer.decode(tokens, skip_special_tokens=False) == text
    assert tokenizer.encode(text).ids.count(tokenizer.token_to_id(name)) == 2


def test_an_added_token_that_is_not_special_is_a_word_as_others():
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("cat", special=False, normalized=False)])
    tokens = encoded(tokenizer, Document("0", "", "the cat"))[0].piece.tokens.tolist()
    assert tokens[-1] == tokenizer.token_to_id("cat") and tokenizer.decode(tokens) == "the cat"


def test_a_document_that_would_become_an_end_token_all_the_same_is_refused_or_listed():
    words = Tokenizer(models.WordLevel({"the": 0, "cat": 1, "</s>": 2, "[UNK]": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["</s>", "[UNK]"])
    for tokenizer in (words, unigram()):
        documents = [Document("a", "", "the cat"), Document("b", "", "the </s> cat"), Document("c", "", "cat")]
        with pytest.raises(InputError, match="document 'b': its text becomes the token </s>"):
            encoded(tokenizer, *documents)
        skipped = Skipped()
        kept = encoded(tokenizer, *documents, bad=BadRows("skip", skipped))
        assert [one.document.id for one in kept] == ["a", "c"]
        assert skipped.counts == {"its text becomes the token </s>": 1}


def test_documents_with_characters_that_the_tokenizer_does_not_know_are_kept_and_listed():
    without_unknown = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    for tokenizer in (metaspace(), unigram(), without_unknown):
        skipped = Skipped()
        documents = [Document("0", "", "ab" if tokenizer is without_unknown else "the cat"), Document("1", "", "ж")]
        assert len(encoded(tokenizer, *documents, bad=BadRows("refuse", skipped))) == 2
        assert skipped.counts == {UNKNOWN: 1}


def test_encoding_ahead_lists_only_documents_that_were_taken(monkeypatch):
    from thresher.data.text import encoding

    monkeypatch.setattr(encoding, "BATCH_DOCUMENTS", 2)
    skipped = Skipped()
    ahead = encode((Document(str(n), "", "ж") for n in range(100)), metaspace(), BadRows("refuse", skipped))
    for _ in range(3):
        next(ahead)
    ahead.close()
    assert skipped.counts == {UNKNOWN: 3}


@pytest.mark.parametrize("limit, batch", [(5, 100), (5, 5), (5, 2), (1, 100), (50, 7)])
def test_nothing_is_read_beyond_what_a_limit_needs(limit, batch, monkeypatch):
    from thresher.data.text import encoding

    monkeypatch.setattr(encoding, "BATCH_DOCUMENTS", batch)
    read = []

    def documents():
        for n in range(100):
            read.append(n)
            yield Document(str(n), "", "the cat")

    kept = []
    for one in encode(documents(), metaspace(), limit=limit):
        if int(one.document.id) % 3 != 1:  # as a row that has nothing to predict is left out
            kept.append(int(one.document.id))
        if len(kept) == limit:
            break
    assert read[-1] == kept[-1] and kept == [n for n in range(100) if n % 3 != 1][:limit]
