"""Subclasses of known layers with a forward pass of their own: what their base class computes, seen from inside.

`OPTLearnedPositionalEmbedding` takes an attention mask and looks up positions, `GemmaTextScaledWordEmbedding` scales
what it looked up. Their own arguments and results say nothing to a rule; the one call that their base class makes
(`F.embedding(indices, weight)`, `F.linear(input, weight, bias)`) has just what a rule is for, so that call is caught.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

Seen = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(layer, what entered, what it gave) -> what is given on."""

# The call that the forward pass of each class makes. Conv1D of `transformers` adds and multiplies: `addmm(bias, x, w)`.
CALLS: dict[type[nn.Module], tuple[Callable, ...]] = {
    nn.Linear: (F.linear,),
    nn.Embedding: (F.embedding,),
    nn.Conv1d: (F.conv1d,),
    nn.Conv2d: (F.conv2d,),
    nn.LayerNorm: (F.layer_norm,),
    nn.GroupNorm: (F.group_norm,),
    nn.BatchNorm1d: (F.batch_norm,),
    nn.BatchNorm2d: (F.batch_norm,),
}


def base_of(module: nn.Module) -> type[nn.Module] | None:
    """The known class that `module` is a subclass of with a forward pass of its own; None for all others."""
    if isinstance(module, Conv1D):
        return None
    known = next((kind for kind in CALLS if isinstance(module, kind)), None)
    return None if known is None or type(module).forward is known.forward else known


class Watch(AbstractContextManager):
    """Inside, `seen` gets each call that the base classes of these layers make with the layer's own weight."""

    def __init__(self, layers: Sequence[nn.Module], seen: Seen) -> None:
        self._layers, self._seen = layers, seen
        self._hidden: list[tuple[nn.Module, Any]] = []

    def __enter__(self) -> "Watch":
        for layer in self._layers:
            self._hidden.append((layer, layer.__dict__.get("forward")))
            layer.forward = _Watched(layer, layer.forward, self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        for layer, own in self._hidden:
            if own is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.__dict__["forward"] = own
        self._hidden.clear()


class _Watched:
    def __init__(self, layer: nn.Module, forward: Callable, seen: Seen) -> None:
        self._layer, self._forward, self._seen = layer, forward, seen

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _Mode(self._layer, self._seen):
            return self._forward(*args, **kwargs)


class _Mode(TorchFunctionMode):
    """Sees every function of torch that is called; those with the layer's weight are its base class's."""

    def __init__(self, layer: nn.Module, seen: Seen) -> None:
        super().__init__()
        base = base_of(layer)
        assert base is not None
        self._layer, self._calls, self._seen_by = layer, CALLS[base], seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func not in self._calls or not args or not isinstance(output, Tensor):
            return output
        weight = getattr(self._layer, "weight", None)
        given = (*args, *kwargs.values())
        if weight is not None and not any(value is weight for value in given):
            return output
        return self._seen_by(self._layer, args[0], output)
