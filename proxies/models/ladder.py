"""The ladder of language models: one dial, the number of parameters, sets width, depth and heads."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from thresher.errors import InputError, unknown

FAMILIES = ("gpt2", "llama", "gpt_neox")
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([kKmMbB]?)\s*")
# The nearest configuration may miss the size asked for by this factor; further away the vocabulary alone is too big.
FARTHEST = 2.0


@dataclass(frozen=True)
class Shape:
    """One rung of the ladder.

    Width goes in steps of 16 below 256, of 32 below 512, of 64 above. Depth is a layer per 32 of width up to 12 layers,
    then a layer per 64: 64 x 2, 144 x 4, 384 x 12, 768 x 12, 1536 x 24. Both only grow, so parameters only grow.
    """

    width: int

    @property
    def depth(self) -> int:
        """The number of layers."""
        return max(1, min(self.width // 32, 12), self.width // 64)

    @property
    def heads(self) -> int:
        """The number of attention heads, each 16, 32 or 64 wide."""
        size = 64 if self.width >= 512 else 32 if self.width % 32 == 0 else 16
        return self.width // size

    def hidden(self, family: str) -> int:
        """The width inside the feed-forward block: 4 widths, or 8/3 in steps of 16 for llama's, of three matrices."""
        return math.ceil(self.width / 6) * 16 if family == "llama" else 4 * self.width

    def num_parameters(self, family: str, vocab_size: int, sequence_length: int) -> dict[str, int]:
        """The parameters of such a model, `total` and `non_embedding`; input and output embedding are one matrix."""
        width, hidden = self.width, self.hidden(family)
        if family == "llama":
            body = self.depth * (4 * width**2 + 3 * width * hidden + 2 * width) + width
        else:
            body = self.depth * (4 * width**2 + 2 * width * hidden + hidden + 9 * width) + 2 * width
        positions = sequence_length * width if family == "gpt2" else 0
        return {"total": body + positions + vocab_size * width, "non_embedding": body}


def is_size(text: str) -> bool:
    """Whether `text` is written as a number of parameters."""
    return SIZE.fullmatch(text) is not None


def parse_size(size: str) -> int:
    """A size in parameters: a number that may end in k, M or B (thousand, million, billion), so `0.4M` is 400000.

    Raises InputError for anything else, and for sizes below 1.
    """
    match = SIZE.fullmatch(size)
    parameters = round(float(match[1]) * SUFFIXES[match[2].lower()]) if match else 0
    if parameters < 1:
        raise InputError(f"size {size!r} is not a number of parameters; write it as 400k, 0.4M or 1.3B")
    return parameters


def rungs() -> Iterator[Shape]:
    """All shapes of the ladder, from width 16 up to 16,384."""
    width = 16
    while width <= 16384:
        yield Shape(width)
        width += 16 if width < 256 else 32 if width < 512 else 64


def nearest_shape(size: str, *, vocab_size: int, sequence_length: int, family: str = "gpt2") -> Shape:
    """The rung whose total parameters, embeddings included, are nearest to `size` on a log scale.

    Raises InputError for an unknown family, and where no rung is within a factor of 2 of the size.
    """
    if family not in FAMILIES:
        raise unknown("model family", family, FAMILIES)
    wanted = parse_size(size)

    def total(shape: Shape) -> int:
        return shape.num_parameters(family, vocab_size, sequence_length)["total"]

    best = min(rungs(), key=lambda shape: abs(math.log(total(shape) / wanted)))
    if not 1 / FARTHEST <= total(best) / wanted <= FARTHEST:
        raise InputError(
            f"size {size!r} is out of reach: with a vocabulary of {vocab_size:,} the nearest model has "
            f"{total(best):,} parameters; pass a {'larger' if total(best) > wanted else 'smaller'} size"
        )
    return best


def language_config(size: str, *, vocab_size: int, sequence_length: int, family: str = "gpt2") -> dict[str, Any]:
    """A `transformers` configuration of about `size` parameters, as `AutoConfig.for_model(**config)` takes it.

    No dropout (it blurs attribution), embeddings tied, no cache. GPT-2's own activation is written out operation by
    operation in `transformers`; `gelu_pytorch_tanh` is the same function in one kernel.
    """
    shape = nearest_shape(size, vocab_size=vocab_size, sequence_length=sequence_length, family=family)
    common = {"model_type": family, "vocab_size": vocab_size, "tie_word_embeddings": True, "use_cache": False}
    # A ladder's vocabulary is the user's own; the families' default special tokens would lie outside of it.
    common |= {"bos_token_id": None, "eos_token_id": None}
    if family == "gpt2":
        return common | {
            "n_embd": shape.width,
            "n_layer": shape.depth,
            "n_head": shape.heads,
            "n_positions": sequence_length,
            "activation_function": "gelu_pytorch_tanh",
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }
    return common | {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.hidden(family),
        "max_position_embeddings": sequence_length,
    }


def language_learning_rate(width: int) -> float:
    """AdamW's peak rate in the standard parametrization: 8e-3 up to width 64, then 8e-3 * 64 / width.

    Held-out loss at width 64 (3,000 sequences of 128 tokens, batch 16, one epoch, one seed each): 6.69 at 4e-3, 6.67 at
    8e-3, 6.55 at 1e-2, 6.81 at 2e-2: runs that hardly leave token frequencies. In longer ones a quarter is best, and
    `completep` is what models are trained by unless asked otherwise. The fall with width is muP's.
    """
    return 8e-3 * 64 / max(64, width)


def vision_learning_rate(batch_size: int) -> float:
    """SGD's peak learning rate at momentum .9: .1 at batch 512, in proportion to the batch, for every width.

    The rate is that of Small-to-Large (arXiv 2505.16260), section 5.
    """
    return 0.1 * batch_size / 512
