"""Bytes that predicted tokens stand for: every kind of tokenizer, in windows, after prompts, where rows are cut."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.data.text.tokenizers_of_each_kind import KINDS
from thresher.data.examples import open_examples
from thresher.data.text.byte_level import BytePlaces, byte_places
from thresher.data.text.documents import Document, as_one_text
from thresher.data.text.text_examples import prepare_text
from thresher.data.text.tokenizer import open_tokenizer

TEXTS = ["the cat sat on the mat", "é 你好 hello world, the end", "x=1; 12345 don't 😀 the x", "a"]
IN_WORDS = ["the cat é 你好", "x=1; 12345 don't 😀 the x"]
"""Texts that begin with a character of one token."""
PROMPTED = [("the cat sat", " on the mat"), ("hello world,", "é 你好"), ("the end ", "x=1; 12345"), ("", "the cat 😀")]


@pytest.fixture(params=KINDS)
def tokenizer(request, tmp_path):
    made = KINDS[request.param]()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def prepared(path, documents, tokenizer, *, length, pack):
    options = {"tokenizer": tokenizer, "sequence_length": length, "pack": pack, "config": {}, "inputs": {}}
    return open_examples(prepare_text(lambda skipped: documents, out=path, **options).path)


def by_hand(tokenizer, text, start, stop):
    """The letters of byte-level tokens, each a byte; else from the end of the token before `start` to that of the last
    before `stop`.
    """
    encoding = tokenizer.encode(text, add_special_tokens=False)
    if "ByteLevel" in str(tokenizer.pre_tokenizer) and "add_prefix_space=True" not in str(tokenizer.pre_tokenizer):
        return sum(map(len, encoding.tokens[start:stop]))
    edges = [0, *np.maximum.accumulate([end for _, end in encoding.offsets])]
    return len(text[edges[start] : edges[min(stop, len(edges) - 1)]].encode())


def test_a_document_has_the_bytes_of_its_text_but_for_what_opens_its_windows(tokenizer, tmp_path):
    documents = [Document(str(n), "", text) for n, text in enumerate(TEXTS)]
    whole, parts = (
        prepared(tmp_path / str(length), documents, tokenizer, length=length, pack=True) for length in (512, 9)
    )
    reader, _, _, begin = open_tokenizer(tokenizer)
    reader.post_processor = None
    assert begin is None
    for number, text in enumerate(TEXTS):
        count = whole.lengths()[number]
        assert whole.num_predicted[number] == count - 1
        assert whole.predicted_bytes[number] == by_hand(reader, text, 1, count)
        edges = parts._windows[parts._windows[:, 0] == number][:, 1:].tolist()
        assert parts.predicted_bytes[number] == sum(by_hand(reader, text, start + 1, stop) for start, stop in edges)
    by_window = parts.by_window()
    assert np.bincount(parts.windows.example, by_window.predicted_bytes).tolist() == parts.predicted_bytes.tolist()


def test_what_follows_a_prompt_has_its_own_bytes_and_the_space_between(tokenizer, tmp_path):
    documents = [Document(str(n), "", text, prompt) for n, (prompt, text) in enumerate(PROMPTED)]
    found = prepared(tmp_path / "out", documents, tokenizer, length=512, pack=False)
    reader, *_ = open_tokenizer(tokenizer)
    reader.post_processor = None
    for number, (prompt, text) in enumerate(PROMPTED):
        joined = as_one_text(prompt, text)
        first, end = found.spans[number, 1:]
        assert found.predicted_bytes[number] == by_hand(reader, joined, first, end)
        whole = len(joined[len(prompt.rstrip(" ")) :].encode())
        # A token that begins in the prompt is predicted whole; without a prompt the first token is not predicted.
        assert found.predicted_bytes[number] >= whole or not prompt


def test_a_cut_row_has_the_bytes_that_were_left_of_it(tokenizer, tmp_path):
    documents = [Document(str(n), "", "the end. hello world", "the cat sat on the mat and x " * 3) for n in range(2)]
    long, short = (
        prepared(tmp_path / str(length), documents, tokenizer, length=length, pack=False) for length in (512, 6)
    )
    assert short.lengths()[0] == 6 < long.lengths()[0] and short.predicted_bytes[0] <= long.predicted_bytes[0]
    reader, *_ = open_tokenizer(tokenizer)
    reader.post_processor = None
    text, lost = as_one_text(documents[0].prompt, documents[0].text), long.spans[0, 1] - short.spans[0, 1]
    first, end = short.spans[0, 1:] + lost
    assert short.predicted_bytes[0] == by_hand(reader, text, first, end)


def test_counting_bytes_and_reading_the_text_again_are_the_same(tmp_path, monkeypatch):
    KINDS["byte-level"]().save(str(tmp_path / "tokenizer.json"))
    documents = [Document(str(n), "", text) for n, text in enumerate(IN_WORDS)]
    path = tmp_path / "out"
    counted = prepared(path, documents, tmp_path / "tokenizer.json", length=512, pack=True).predicted_bytes
    monkeypatch.setattr("thresher.data.text.predicted_bytes.byte_places", lambda tokenizer: None)
    assert open_examples(path).predicted_bytes.tolist() == counted.tolist()


def test_tokens_that_say_nothing_of_bytes_are_looked_up_in_the_text(tmp_path, monkeypatch):
    KINDS["byte-level"]().save(str(tmp_path / "tokenizer.json"))
    documents = [Document(str(n), "", text) for n, text in enumerate(IN_WORDS)]
    found = prepared(tmp_path / "out", documents, tmp_path / "tokenizer.json", length=512, pack=True)
    expected = found.predicted_bytes.tolist()
    sizes = np.full(found.vocab_size - 40, 2**40)
    monkeypatch.setattr("thresher.data.text.predicted_bytes.byte_places", lambda tokenizer: BytePlaces(sizes))
    assert open_examples(tmp_path / "out").predicted_bytes.tolist() == expected


def test_texts_of_other_tokens_have_no_bytes(tmp_path, monkeypatch):
    KINDS["unigram"]().save(str(tmp_path / "tokenizer.json"))
    found = prepared(tmp_path / "out", [Document("0", "", "the cat")], tmp_path / "tokenizer.json", length=9, pack=True)
    monkeypatch.setattr(type(found), "texts", lambda self, members: ["another"] * len(members))
    assert found.predicted_bytes is None


def losing_spaces(tokenizer):
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)


def losing_commas(tokenizer):
    steps = [pre_tokenizers.Split(",", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)


def marking_ends(tokenizer):
    tokenizer.model = models.BPE(tokenizer.get_vocab(), [], end_of_word_suffix="</w>")


@pytest.mark.parametrize("change", [losing_spaces, losing_commas, marking_ends])
def test_tokenizers_that_do_not_keep_every_byte_are_not_counted_by_their_tokens(tmp_path, change):
    tokenizer = KINDS["byte-level"]()
    assert byte_places(tokenizer) is not None
    change(tokenizer)
    assert byte_places(tokenizer) is None
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "the cat, sat on"
    found = prepared(tmp_path / "out", [Document("0", "", text)], tmp_path / "tokenizer.json", length=64, pack=True)
    first = tokenizer.encode(text, add_special_tokens=False).offsets[0][1]
    if change is not marking_ends:  # which has no token for what ends a word here
        assert found.predicted_bytes.tolist() == [len(text) - first]


def test_a_vocabulary_that_lacks_a_byte_is_not_counted_by_its_tokens():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(["the cat"], trainers.BpeTrainer(vocab_size=60, show_progress=False))
    assert byte_places(tokenizer) is None
