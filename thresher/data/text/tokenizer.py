"""The tokenizer: from a file or a checkpoint, or trained on the pool."""

import heapq
import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from thresher.artifacts import Artifact, Draft, build, is_artifact, open_artifact
from thresher.canonical import hash_json
from thresher.checkpoints import HUB, locate
from thresher.data.text.begin_token import begin_token_of
from thresher.data.text.end_token import END, EndToken, ReadFile, end_token_of, files_beside, files_on_hub, mark_special
from thresher.errors import InputError

SAMPLE_CHARACTERS = 2**26
"""Learn merges from at most this many characters: enough to learn well, few enough to keep in memory."""


def check_vocab_size(vocab_size: int) -> None:
    """Refuse a vocabulary that cannot hold every byte and the end token."""
    if vocab_size < 257:
        raise InputError(f"vocab_size={vocab_size} is too small for bytes and the end token; pass at least 257")


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int,
    out: Path,
    inputs: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Artifact:
    """Train a byte-level BPE tokenizer of `vocab_size` entries with one special token, the end of a document (id 0).

    The artefact is of kind `tokenizer`. It learns from a sample of SAMPLE_CHARACTERS, if the texts have more, which is
    the same whatever their order (`sample`). `config` and `seed` say which texts of the `inputs` these are.

    Raises InputError as `check_vocab_size` does.
    """
    check_vocab_size(vocab_size)

    def write(draft: Draft) -> dict[str, int]:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(sample(texts, SAMPLE_CHARACTERS), trainer)
        with draft.file("tokenizer.json") as file:
            tokenizer.save(str(file))
        return {"vocab_size": tokenizer.get_vocab_size()}

    request = {**(config or {}), "vocab_size": vocab_size}
    return build(out, kind="tokenizer", config=request, seed=seed, inputs=inputs, write=write)


def sample(texts: Iterable[str], size: int) -> list[str]:
    """Texts of `size` characters in all, or all texts if they have fewer.

    Those with the smallest hashes are taken, which is a random sample that takes one pass and does not depend on order.
    Of a text longer than a hundredth of `size`, its beginning stands for it.
    """
    largest: list[tuple[int, str]] = []  # a heap, the largest hash (as a negative number) on top
    total, longest = 0, max(size // 100, 1)
    for text in texts:
        text = text[:longest]
        key = -int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
        if total >= size and key < largest[0][0]:
            continue
        heapq.heappush(largest, (key, text))
        total += len(text)
        while total - len(largest[0][1]) >= size:
            total -= len(heapq.heappop(largest)[1])
    return [text for _, text in sorted(largest, reverse=True)]


class OpenTokenizer(NamedTuple):
    """A tokenizer that is ready to use, and what is known of it."""

    tokenizer: Tokenizer
    end: int
    """The id of the token that ends a document."""
    hash: str
    """A hash of what decides which tokens a text becomes."""
    begin: int | None = None
    """The id of the token that the checkpoint puts before every text; None where there is none."""


def open_tokenizer(name: str | Path) -> OpenTokenizer:
    """A tokenizer by name: an artefact of ours, a `tokenizer.json`, or a checkpoint that has one (a folder, hf:NAME).

    The end and begin tokens are what the checkpoint says (`end_token`, `begin_token`); settings that would cut texts or
    fill them up are put aside. Raises InputError for what cannot be read or has no end token.
    """
    tokenizer, read = _read(str(name))
    begin = begin_token_of(tokenizer, read)
    end = _end_of(tokenizer, str(name), read)
    mark_special(tokenizer, end)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return OpenTokenizer(tokenizer, end.id, _hash_of(tokenizer), begin)


def vocab_size_of(tokenizer: Tokenizer) -> int:
    """How many embeddings a model needs for its tokens: the largest id plus 1, added ones and holes included."""
    return max(tokenizer.get_vocab().values()) + 1


def _end_of(tokenizer: Tokenizer, name: str, read: ReadFile) -> EndToken:
    ours = (read("layout.json") or {}).get("end_token")
    if isinstance(ours, int):
        return EndToken(ours, str(tokenizer.id_to_token(ours)), "the prepared examples")
    return end_token_of(tokenizer, name, read)


def _read(name: str) -> tuple[Tokenizer, ReadFile]:
    """The tokenizer, and what reads the files beside it."""
    given, name = name, name.removeprefix(HUB)
    path = Path(name).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    if is_artifact(file.parent):
        open_artifact(file.parent)  # refuses a damaged one
    try:
        if file.is_file():
            beside = files_beside(file.parent) if file.name == "tokenizer.json" else _nothing
            return Tokenizer.from_file(str(file)), beside
        if path.is_dir():
            return _converted(path), files_beside(path)
        name = str(locate(given))
        return Tokenizer.from_pretrained(name), files_on_hub(name)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"no tokenizer can be read from {name} ({type(error).__name__}); give a tokenizer.json or a checkpoint"
        ) from error


VOCABULARIES = ("vocab.*", "merges.txt", "*.model", "*.tiktoken", "tekken.json", "*.vocab", "bpe.codes")
"""What files of older tokenizers are called."""


def _nothing(name: str) -> None:
    """A file that stands alone has no others beside it."""


def _converted(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint that has only the files of an older kind, such as vocab.json and merges.txt."""
    from transformers import AutoTokenizer  # slow to load, and only for checkpoints of an older kind

    # Without any, some versions of `transformers` make an empty tokenizer up.
    if not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        raise InputError(f"no tokenizer can be read from {folder}: it has none; put its tokenizer.json there")
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True).backend_tokenizer
    except Exception as error:
        raise InputError(
            f"no tokenizer can be read from {folder}: it has no tokenizer.json, and none could be made of its other "
            f"files ({type(error).__name__}); save one there, or name another checkpoint"
        ) from error


def tokenizer_hash(name: str | Path) -> str | None:
    """The hash that `open_tokenizer` gives; None where `name` has no tokenizer."""
    try:
        return open_tokenizer(name).hash
    except InputError:
        return None


def _hash_of(tokenizer: Tokenizer) -> str:
    """Of what decides which tokens a text becomes; what is added around a text, or done to show it, does not count."""
    described = json.loads(tokenizer.to_str())
    added = {token["content"]: token["id"] for token in described["added_tokens"]}
    return hash_json([added, *(described[key] for key in ("normalizer", "pre_tokenizer", "model"))])
