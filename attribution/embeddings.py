"""Hidden states of examples under a model, pooled: what embedding baselines and selectors compare."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.data.batches import balanced_batches
from thresher.data.examples import Examples, add_shares
from thresher.devices import full_float32, pick_device
from thresher.errors import InputError
from thresher.outputs import logits_of


@full_float32()
def embeddings(model: nn.Module, examples: Examples, *, device: str = "auto") -> Float[np.ndarray, "n d"]:
    """What enters the linear layer that is called last, for each example, [n, d] in float32.

    It is the mean over positions with a label where there are positions, and over the windows of a document by their
    shares of those. Raises InputError for a model that calls no linear layer.
    """
    place, seen = pick_device(device), {}
    model.to(place).eval()
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [each.register_forward_hook(lambda module, args, output: seen.update(entered=args[0])) for each in linear]
    windows = examples.windows
    lengths = np.asarray(windows.lengths)
    pooled: Tensor | None = None
    try:
        with torch.no_grad():
            for members in balanced_batches(lengths, 8192 if (lengths > 1).any() else 256):
                batch = {name: value.to(place) for name, value in examples.batch(members).items()}
                logits_of(model, batch)
                if not seen:
                    raise InputError(
                        "the model calls no linear layer to take embeddings from; leave out the embedding scorer"
                    )
                values = _pooled(seen["entered"].float(), batch).cpu()
                pooled = torch.zeros(len(examples), values.shape[1]) if pooled is None else pooled
                add_shares(pooled, windows.example[members], windows.weights[members], values)
    finally:
        for hook in hooks:
            hook.remove()
    assert pooled is not None
    return pooled.numpy()


def _pooled(entered: Tensor, batch: dict[str, Tensor]) -> Float[Tensor, "b d"]:
    if entered.ndim == 2:
        return entered
    if "attention_mask" in batch:
        counted = batch["attention_mask"].float()[..., None]
    elif batch["labels"].ndim < 2:
        return entered.flatten(1, -2).mean(dim=1)
    else:
        counted = (batch["labels"] != -100).float()[..., None]
    return (entered * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
