"""In which precision a checkpoint's weights are stored; they are held, trained and saved in float32 whatever it is."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from thresher.errors import InputError

NAMES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
# Buffers such as masks and positions; a weight of one of them is quantised.
INTEGERS = frozenset({"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"})


def stored_precision(name: str, files: Iterable[Path]) -> str:
    """The precision of the tensors of safetensors files, such as `bfloat16`, or `bfloat16 and float32` where they mix.

    Raises InputError for a file that is not readable, and for quantised tensors, of which it names the first.
    """
    precisions: Counter[str] = Counter()
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                kinds = {key: tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{file} is not a readable safetensors file ({error}); save the model again") from None
        for key, kind in kinds.items():
            if kind in NAMES:
                precisions[NAMES[kind]] += 1
            elif kind not in INTEGERS or key.endswith("weight"):
                raise InputError(
                    f"{name}: tensor {key} is stored as {kind}, quantised; give the checkpoint it was made from, in "
                    "float32, bfloat16 or float16"
                )
    return joined(precisions)


def precision_of(tensors: Mapping[str, Tensor]) -> str:
    """The precision of tensors in memory, in the words of `stored_precision`."""
    return joined(Counter(_word(value.dtype) for value in tensors.values() if value.is_floating_point()))


def in_float32(model: nn.Module) -> nn.Module:
    """The model with every floating-point parameter and buffer in float32 (in place): master weights."""
    return model.float()


def joined(kinds: Counter[str]) -> str:
    """The names of kinds, the most frequent first, joined by `and`; `nothing` if there are none."""
    return " and ".join(kind for kind, _ in kinds.most_common()) or "nothing"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
