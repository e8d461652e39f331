"""What fills up the shorter texts of a batch: the token that the model of a checkpoint takes for padding.

Classifiers made of causal language models read off the last token that is not padding, which they know by its number.
"""

from typing import Any

import torch
from torch import nn

from thresher.proxies.models.checkpoints.architecture import CLASSIFIER


def honour(model: nn.Module, spec: dict[str, Any]) -> None:
    """Have a classifier of texts fill up batches with its own padding token.

    Where its configuration names none, its end token is taken for it, or else 0.
    """
    config: Any = getattr(model, "config", None)
    if spec["task"] != CLASSIFIER or config is None:
        return
    if getattr(config, "pad_token_id", None) is None:
        ends = getattr(config, "eos_token_id", None)
        end = ends[0] if isinstance(ends, list) and ends else ends
        config.pad_token_id = end if isinstance(end, int) and 0 <= end < spec["vocab_size"] else 0
    model.register_forward_pre_hook(_Fill(config.pad_token_id), with_kwargs=True)


class _Fill:
    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        mask = kwargs.get("attention_mask")
        if mask is None:
            return args, kwargs
        filled = torch.where(mask == 0, self.token, kwargs["input_ids"])
        return args, kwargs | {"input_ids": filled}
