"""The tokenizer: from a file or a checkpoint, or trained on the pool."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from thresher.artifacts import Artifact, build, hash_json
from thresher.errors import InputError

END = "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, out: Path, inputs: dict[str, str]) -> Artifact:
    """A byte-level BPE tokenizer of `vocab_size` entries with one special token, the end of a document (id 0)."""
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
        tokenizer.train_from_iterator(texts, trainer)
        with draft.file("tokenizer.json") as file:
            tokenizer.save(str(file))
        return {"vocab_size": tokenizer.get_vocab_size()}

    return build(out, kind="tokenizer", config={"vocab_size": vocab_size}, seed=0, inputs=inputs, write=write)


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
    return tokenizer, end, hash_json(tokenizer.to_str())
