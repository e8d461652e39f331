"""One small pass through a model before it is used: does it read what it must, and look only at what it may?

The names of architectures say much; this asks the model itself, so that it holds for anybody's own.
"""

import traceback
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.outputs import Batch, logits_of
from thresher.proxies.models.checkpoints.architecture import CLASSIFIER, LANGUAGE
from thresher.seeds import torch_rng

# Tokens of the text that is tried; the last one is changed.
LENGTH = 12
# Examples whose logits are compared, and how far rounding may move them.
SEVERAL, EQUAL = 8, 1e-7
USUAL_SIZE = (224, 224)
"""Of an image for a model that says none."""
# How far earlier logits may move then, relative to their spread: rounding alone.
TOLERANCE = 1e-4


def probe(model: nn.Module, spec: dict[str, Any]) -> None:
    """Raise InputError for a model that does not do what `spec` says, by one small pass through it.

    It must not fail on an input of the shape that `spec` says, must give finite logits of the right shape, and as a
    language model must not move earlier logits when only the last token changes. It is left in the mode it came in.
    """
    mode = model.training
    batch = _texts(model, spec) if spec["task"] != "vision" else _images(spec)
    try:
        with torch.no_grad():
            logits = logits_of(model.eval(), batch)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"model {spec['name']!r} fails on {_shown(batch)} ({type(error).__name__}: {reason}; "
            f"{where.filename.rpartition('/')[2]}:{where.lineno}); give a model of such inputs"
        ) from None
    finally:
        model.train(mode)
    _check_shape(logits, batch, spec)
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            f"model {spec['name']!r} gives logits that are not finite; its weights are damaged, give another"
        )
    if spec["task"] == LANGUAGE:
        _check_causal(logits, spec["name"])


def refuse_constant(model: nn.Module, examples: Examples, name: str) -> None:
    """Raise InputError for a model that gives the same logits whatever it reads: nothing can be attributed to it."""
    windows = np.unique(np.linspace(0, len(examples.windows.example) - 1, SEVERAL).astype(np.int64))
    batch = examples.batch(windows)
    inputs = batch["input_ids" if "input_ids" in batch else "pixel_values"]
    with torch.no_grad():
        logits = logits_of(model.eval(), batch).float()
    rows = logits.flatten(0, -2)
    differs = bool((inputs != inputs[:1]).any()) or (inputs.ndim == 2 and bool((inputs != inputs[:, :1]).any()))
    if differs and bool(((rows - rows[:1]).abs() <= EQUAL * (1 + rows.abs())).all()):
        raise InputError(
            f"model {name!r} gives the same logits for every example of {examples.artifact.path}: it is untrained or "
            "its weights are damaged; give a trained model"
        )


def _check_causal(logits: Tensor, name: str) -> None:
    """`logits` [2, t, v] are of two texts that differ in their last token alone."""
    early = logits[:, :-1].float()
    spread = float(early.std()) or 1.0
    moved = float((early[0] - early[1]).abs().max())
    if moved > TOLERANCE * spread:
        raise InputError(
            f"model {name!r} looks ahead: when only the last token changes, logits before it move by {moved:.1e}, so "
            "it sees what it predicts; give a causal language model"
        )


def _check_shape(logits: Any, batch: Batch, spec: dict[str, Any]) -> None:
    given = next(iter(batch.values()))
    wanted = (*given.shape, spec["vocab_size"]) if spec["task"] == LANGUAGE else (len(given), spec["num_classes"])
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else None
    if shape is None or len(shape) != len(wanted) or shape[:-1] != wanted[:-1] or shape[-1] < wanted[-1]:
        shown = list(shape) if shape is not None else type(logits).__name__
        raise InputError(
            f"model {spec['name']!r} gives {shown} for {_shown(batch)}, where logits {list(wanted)} are needed; "
            "give a model of this task"
        )


def _texts(model: nn.Module, spec: dict[str, Any]) -> Batch:
    length, size = min(LENGTH, spec["sequence_length"]), spec["vocab_size"]
    tokens = torch.randint(0, size, (length,), generator=torch_rng(0, "probe")).repeat(2, 1)
    tokens[1, -1] = (tokens[1, -1] + 1) % size
    padding = getattr(getattr(model, "config", None), "pad_token_id", None)
    if padding is not None and size > 3:  # positions and attention may be counted from it
        other = next(token for token in range(size) if token not in (padding, *tokens[:, -1].tolist()))
        tokens[tokens == padding] = other
    return {"input_ids": tokens} | ({"attention_mask": torch.ones_like(tokens)} if spec["task"] == CLASSIFIER else {})


def _images(spec: dict[str, Any]) -> Batch:
    shape = spec.get("image_shape") or (spec.get("num_channels", 3), *USUAL_SIZE)
    return {"pixel_values": torch.rand(2, *shape, generator=torch_rng(0, "probe")) * 2 - 1}


def _shown(batch: Batch) -> str:
    kind, given = next(iter(batch.items()))
    return f"{'tokens' if kind == 'input_ids' else 'images'} {list(given.shape)}"
