"""Which token ends a document: what a checkpoint says of itself, before any guess by name."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from thresher.errors import InputError

END = "<|endoftext|>"
# Names of end tokens, for tokenizers that do not say which is theirs.
USUAL = (END, "</s>", "<eos>", "[SEP]", "<|end_of_text|>")
# Where checkpoints say it, the first that does counts: of the tokenizer before of the model.
BY_NAME = ("tokenizer_config.json", "special_tokens_map.json")
BY_NUMBER = ("generation_config.json", "config.json")

ReadFile = Callable[[str], dict[str, Any] | None]
"""A JSON file of a checkpoint by its name; None where the checkpoint has none."""


class EndToken(NamedTuple):
    """The token that ends a document, and where that was read."""

    id: int
    text: str
    said_by: str


def end_token_of(tokenizer: Tokenizer, name: str, read: ReadFile) -> EndToken:
    """The end token of `tokenizer`; `read` gives the files beside it. InputError if it has none.

    In this order: the `eos_token` of the tokenizer's configuration, the `eos_token_id` of the model's (the first, if
    there are several), a usual name.
    """
    for text, said_by in _named(read):
        number = tokenizer.token_to_id(text)
        if number is None:
            raise InputError(f"{said_by} of {name} names the end token {text!r}, which its tokenizer lacks; add it")
        return EndToken(number, text, said_by)
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    for number, said_by in _numbered(read):
        # A model's configuration is often left at its class's defaults; that of another tokenizer is no token of ours.
        if number in special:
            return EndToken(number, str(tokenizer.id_to_token(number)), said_by)
    for text in USUAL:
        number = tokenizer.token_to_id(text)
        if number is not None:
            return EndToken(number, text, "its usual name")
    raise InputError(
        f"the tokenizer {name} has no end-of-document token; name its eos_token in tokenizer_config.json, "
        f"or add {END} to it"
    )


def mark_special(tokenizer: Tokenizer, end: EndToken) -> None:
    """Make the end token a special one, as it must be for its name in a document to stay text."""
    added = tokenizer.get_added_tokens_decoder().get(end.id)
    if added is None or not added.special:
        tokenizer.add_special_tokens([AddedToken(end.text, special=True, normalized=False)])


def files_beside(folder: Path) -> ReadFile:
    """What reads the JSON files in a folder."""

    def read(name: str) -> dict[str, Any] | None:
        file = folder / name
        return _parsed(file) if file.is_file() else None

    return read


def files_on_hub(repository: str) -> ReadFile:
    """What reads the JSON files of a checkpoint on the hub."""

    def read(name: str) -> dict[str, Any] | None:
        # Slow to load, and only for checkpoints of the hub.
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return _parsed(Path(hf_hub_download(repository, name)))
        except EntryNotFoundError:
            return None

    return read


def _parsed(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON ({error}); repair it") from None
    return content if isinstance(content, dict) else {}


def _named(read: ReadFile) -> Iterator[tuple[str, str]]:
    for file in BY_NAME:
        token = (read(file) or {}).get("eos_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            yield token, file


def _numbered(read: ReadFile) -> Iterator[tuple[int, str]]:
    for file in BY_NUMBER:
        content = read(file) or {}
        # A model of several parts says it in the part for text.
        for settings in (content, content.get("text_config") or {}):
            found = settings.get("eos_token_id")
            for number in found if isinstance(found, list) else [found]:
                if isinstance(number, int) and not isinstance(number, bool):
                    yield number, file
