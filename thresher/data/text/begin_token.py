"""Which token a checkpoint puts before a text: what it was trained with is what it is given."""

from tokenizers import Tokenizer

from thresher.data.text.end_token import ReadFile


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
