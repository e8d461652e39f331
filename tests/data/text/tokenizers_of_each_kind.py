"""Small tokenizers of the kinds that checkpoints come with, trained on a few lines."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = ["the cat sat on the mat é 你好 and x", "hello world, the end. מה שלום 12345 x=1; don't"] * 5
WORDS = "the cat sat on é 你好 hello world, end. מה שלום 12345 x=1; don't 😀 👩‍💻 e\u0301 ﬁ ½ \r\n \n \t हिन्दी นี้".split(
    " "
)
LLAMA_3 = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(*, prefix: bool = False) -> Tokenizer:
    """As of GPT-2; with a prefix space, as of RoBERTa. Its post-processor moves the places of tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder, tokenizer.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def digits_by_threes() -> Tokenizer:
    """As of Llama 3: numbers in groups of three digits, counted from the first."""
    tokenizer = byte_level()
    splitting = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([splitting, rest])
    return tokenizer


def metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    return tokenizer


def prepending() -> Tokenizer:
    """As of Llama 2: a normalizer that puts a space before the text, no splitting into words, bytes for the unknown."""
    described = json.loads(metaspace().to_str())
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    described["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]}
    described["pre_tokenizer"], described["model"]["byte_fallback"] = None, True
    vocabulary = described["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    return Tokenizer.from_str(json.dumps(described))


def unigram() -> Tokenizer:
    """As of T5: compatibility forms made one, and the end token a piece like any other."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    special = ["<unk>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    """As of BERT: lower case, no accents, no token for a space."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


KINDS = {
    "byte-level": byte_level,
    "byte-level with a prefix": lambda: byte_level(prefix=True),
    "digits by threes": digits_by_threes,
    "metaspace": metaspace,
    "prepending": prepending,
    "unigram": unigram,
    "word pieces": word_piece,
}
