"""The tokenizer: from a file or a checkpoint, or trained on the pool."""

import heapq
import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from thresher.artifacts import Artifact, build, hash_json
from thresher.errors import InputError

END = "<|endoftext|>"
# So many characters are enough to learn merges from, and little enough to hold.
SAMPLE_CHARACTERS = 2**26


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, out: Path, inputs: dict[str, str]) -> Artifact:
    """A byte-level BPE tokenizer of `vocab_size` entries with one special token, the end of a document (id 0).

    Of more than SAMPLE_CHARACTERS it learns from a sample, the same whatever the texts' order (`sample`).
    """
    if vocab_size < 257:
        raise InputError(f"vocab_size={vocab_size} is too small for bytes and the end token; pass at least 257")

    def write(draft):
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

    return build(out, kind="tokenizer", config={"vocab_size": vocab_size}, seed=0, inputs=inputs, write=write)


def sample(texts: Iterable[str], size: int) -> list[str]:
    """Texts of `size` characters in all, or all of them: those with the smallest hashes, so a random sample that takes
    one pass and does not depend on order. Of a text longer than a hundredth of `size`, its beginning stands for it."""
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


def open_tokenizer(name: str | Path) -> tuple[Tokenizer, int, str]:
    """A tokenizer, the id of its end-of-document token and the hash of what it does.

    `name` is a tokenizer artefact, a `tokenizer.json`, or a checkpoint (folder or hub name) that has one.
    """
    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(str(name))
    except Exception as error:
        raise InputError(
            f"no tokenizer can be read from {name} ({type(error).__name__}); give a tokenizer.json or a checkpoint"
        ) from error
    ends = [tokenizer.token_to_id(token) for token in (END, "</s>", "<eos>", "[SEP]", "<|end_of_text|>")]
    end = next((token for token in ends if token is not None), None)
    if end is None:
        raise InputError(f"the tokenizer {name} has no end-of-document token; add {END} to it")
    # Settings of a checkpoint's file that would cut texts or fill them up.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, end, _hash_of(tokenizer)


def tokenizer_hash(name: str | Path) -> str | None:
    """The hash that `open_tokenizer` gives; None where `name` has no tokenizer."""
    try:
        return open_tokenizer(name)[2]
    except InputError:
        return None


def _hash_of(tokenizer: Tokenizer) -> str:
    """Of what decides which tokens a text becomes; what is added around a text, or done to show it, does not count."""
    described = json.loads(tokenizer.to_str())
    added = {token["content"]: token["id"] for token in described["added_tokens"]}
    return hash_json([added, *(described[key] for key in ("normalizer", "pre_tokenizer", "model"))])
