"""Which token a checkpoint puts before a text: what it was trained with is what it is given."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from thresher.data.text.end_token import ReadFile

if TYPE_CHECKING:
    from thresher.data.text.text_examples import Example


def begin_token_of(tokenizer: Tokenizer, read: ReadFile) -> int | None:
    """The token that stands before every text; None where there is none. `read` gives the files beside the tokenizer.

    In this order: what prepared examples have, the `add_bos_token` of the tokenizer's configuration, what the tokenizer
    itself puts there.
    """
    ours = read("layout.json")
    if ours is not None:
        return ours.get("begin_token")
    said = read("tokenizer_config.json") or {}
    if said.get("add_bos_token") is not None:
        token = said.get("bos_token")
        token = token.get("content") if isinstance(token, dict) else token
        return tokenizer.token_to_id(token) if said["add_bos_token"] and isinstance(token, str) else None
    alone, whole = (tokenizer.encode("a", add_special_tokens=adds).ids for adds in (False, True))
    return whole[0] if len(whole) > len(alone) and whole[0] != alone[0] else None


def begun(rows: "Iterable[Example]", begin: int | None, *, is_given: bool) -> "Iterator[Example]":
    """The examples with `begin` before them. `is_given`: they begin with a prompt, which stays unpredicted; else their
    own first token is predicted from it."""
    for row in rows:
        if begin is None:
            yield row
        else:
            add = _adder(begin, is_given)
            yield row._replace(tokens=add(row.tokens), choices=[add(choice) for choice in row.choices])


def _adder(begin: int, is_given: bool) -> Any:
    def add(tokens: Any) -> Any:
        breaks = None if tokens.breaks is None else np.concatenate([[True], tokens.breaks])
        ids = np.concatenate([np.array([begin], dtype=tokens.ids.dtype), tokens.ids])
        return tokens._replace(ids=ids, first=tokens.first + is_given, breaks=breaks)

    return add
