"""A tokenizer that takes everything for text: special tokens are what is put around a document, never made of it."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any
from unicodedata import category

import numpy as np
from jaxtyping import Bool, Int, UInt32
from tokenizers import Tokenizer

from thresher.data.text.byte_level import byte_places
from thresher.data.text.pieces import Placed, placed_tokens


class TextReader:
    """A tokenizer as it reads documents.

    Nothing is cut, filled up or added, every character's place is as it is, and `</s>` in a document is four
    characters, not its end.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        described = json.loads(tokenizer.to_str())
        # A byte-level post-processor moves the places of tokens: past the spaces that they begin with.
        as_text = described | {"post_processor": None, "truncation": None, "padding": None}
        self.tokenizer = Tokenizer.from_str(json.dumps(as_text))
        self.tokenizer.encode_special_tokens = True
        self._places = byte_places(self.tokenizer)
        model = described["model"]
        self._unknown = _unknown_token(model, tokenizer)
        # Without a token for what they do not know, these leave it out.
        self._drops = model["type"] == "BPE" and self._unknown is None
        added = self.tokenizer.get_added_tokens_decoder()
        special = (number for number, token in added.items() if token.special and number != self._unknown)
        self._special = np.array(sorted(special), np.int64)

    def __call__(self, texts: Sequence[str]) -> list[Placed]:
        """The tokens of each text, and their places in it."""
        return placed_tokens(texts, self.tokenizer, self._places)

    def special_among(self, tokens: Placed) -> str | None:
        """The special token that the tokenizer made of text all the same (a model may have it as a word); else None."""
        found = tokens.ids[np.isin(tokens.ids, self._special)]
        return self.tokenizer.id_to_token(int(found[0])) if len(found) else None

    def loses_some(self, text: str, tokens: Placed) -> bool:
        """Whether `text` has characters that the tokenizer does not know, so that its tokens do not tell them."""
        if self._drops and len(_left_out(text, tokens)):
            return True
        return self._unknown is not None and bool((tokens.ids == self._unknown).any())


def character_begins(text: str, tokens: Placed) -> Bool[np.ndarray, "t"]:
    """Whether a character begins with each token.

    None does within a character that is several tokens (as bytes are), nor with a sign that combines with the character
    before it.
    """
    begins = np.ones(len(tokens.ids), bool)
    begins[1:] = tokens.starts[1:] >= np.maximum.accumulate(tokens.ends)[:-1]
    if not text.isascii():
        codes = _codes(text)
        combines = _combining()[codes]
        combines[1:] |= codes[:-1] == ord("\u200d")  # joins two emoji
        begins &= ~combines[np.minimum(tokens.starts, len(codes) - 1)]
    return begins


def _unknown_token(model: dict[str, Any], tokenizer: Tokenizer) -> int | None:
    if model.get("unk_id") is not None:
        return model["unk_id"]
    name = model.get("unk_token")
    return None if name is None else tokenizer.token_to_id(name)


def _left_out(text: str, tokens: Placed) -> Int[np.ndarray, "c"]:
    """The code points of `text` that are in no token.

    White space, control characters and combining signs, which tokenizers leave out on purpose, are not among them.
    """
    covered = np.zeros(len(text) + 1, np.int64)
    np.add.at(covered, tokens.starts, 1)
    np.add.at(covered, tokens.ends, -1)
    left_out = _codes(text)[np.cumsum(covered)[:-1] == 0]
    return np.array([code for code in left_out.tolist() if category(chr(code))[0] not in "CMZ"], np.int64)


def _codes(text: str) -> UInt32[np.ndarray, "c"]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def _combining() -> Bool[np.ndarray, "c"]:
    """Of every code point, whether it belongs to the character before it."""
    combining = np.fromiter((category(chr(code))[0] == "M" for code in range(0x110000)), bool, 0x110000)
    combining[0x1160:0x1200] = True  # vowels and final consonants of Korean written by letters
    combining[0x200C:0x200E] = True  # joiners
    combining[0x1F3FB:0x1F400] = True  # skin tones
    return combining
