"""An output function written for one example, differentiated through one pass of the model over the whole batch.

traker's tasks say `get_output(model, weights, buffers, *example)` and call the model in it, on that example. Given a
stand-in for the model, the function shows what it calls it with (`first_call`); the real model is then run once on the
inputs of all examples, and the function is run again on stand-ins that return each example's own part of what came out
(`output_gradients`). That second run is vectorised over a few operations on logits, where traker vectorises the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten


class Unsuitable(Exception):
    """The output function does more with the model than call it once on inputs that can be stacked."""


class StandIn(nn.Module):
    """Answers in place of a model; its plain attributes (`config`, `device`) are the model's own.

    With `closed`, its layers and methods are out of reach: what they compute would escape the pass over the batch.
    """

    def __init__(self, model: nn.Module, answer: Callable[..., Any], *, closed: bool) -> None:
        super().__init__()
        self.__dict__ |= {"_real": model, "_answer": answer, "_closed": closed, "num_calls": 0}
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Answer a call of the model. Raises Unsuitable for a second call where the stand-in is closed."""
        self.num_calls += 1
        if self._closed and self.num_calls > 1:
            raise Unsuitable("the output function calls the model more than once")
        return self._answer(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # a weight swapped in stays here

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["_real"], name)
        if not self.__dict__["_closed"] or isinstance(value, Tensor) or not callable(value):
            return value

        def refuse(*_: Any, **__: Any) -> Any:
            raise Unsuitable(f"the output function uses the model's {name!r}")

        # `functional_call` swaps the weights of every layer, of whose stand-in that asks nothing.
        return StandIn(value, refuse, closed=True) if isinstance(value, nn.Module) else refuse


@dataclass
class Tree:
    """A call's arguments or what it returned: the leaves of nested containers, and how they nest."""

    leaves: list[Any]
    spec: TreeSpec

    @classmethod
    def of(cls, value: Any) -> "Tree":
        """Take a value apart."""
        return cls(*tree_flatten(value))

    def value(self) -> Any:
        """Put the value together again."""
        return tree_unflatten(self.leaves, self.spec)

    def same_as(self, other: "Tree") -> bool:
        """Whether both have equal leaves, nested alike."""
        return self.spec == other.spec and all(map(_same, self.leaves, other.leaves))


class _Called(Exception):
    def __init__(self, arguments: Any) -> None:
        super().__init__()
        self.arguments = Tree.of(arguments)


class Output(NamedTuple):
    """A task's `get_output` and what it is called with, but for the example."""

    function: Callable[..., Tensor]
    model: nn.Module
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    def answered(self, answer: Callable[..., Any], example: Sequence[Tensor]) -> Tensor:
        """The output of one example when calls of the model are answered so."""
        stand_in = StandIn(self.model, answer, closed=True)
        return self.function(stand_in, self.weights, self.buffers, *example)


def first_call(output: Output, batch: Sequence[Tensor]) -> Tree:
    """(args, kwargs) of the model's call in the output function, those of all examples stacked along the first axis."""
    seen: list[Tree] = []

    def answer(*args: Any, **kwargs: Any) -> Any:
        raise _Called((args, kwargs))

    def inputs(*example: Tensor) -> list[Tensor]:
        try:
            output.answered(answer, example)
        except _Called as call:
            seen.append(call.arguments)
            return [leaf for leaf in call.arguments.leaves if isinstance(leaf, Tensor)]
        raise Unsuitable("the output function never calls the model")

    with torch.no_grad():
        stacked = iter(vmap(inputs, randomness="different")(*batch))
    leaves = [_joined(next(stacked)) if isinstance(leaf, Tensor) else leaf for leaf in seen[0].leaves]
    return Tree(leaves, seen[0].spec)


def output_gradients(
    output: Output, batch: Sequence[Tensor], returned: Tree, per_example: Sequence[bool]
) -> list[tuple[Tensor, Tensor]]:
    """Each leaf of what the model `returned` that depends on parameters, with the gradient of its examples' outputs.

    per_example   which leaves have an example a row; the others are the same for all
    """
    places = [place for place, leaf in enumerate(returned.leaves) if isinstance(leaf, Tensor)]
    moving = [place for place in places if returned.leaves[place].requires_grad]
    if not all(per_example[place] for place in moving):
        raise Unsuitable("the model returns what belongs to no one example")

    def value(values: dict[int, Tensor], fixed: dict[int, Tensor], *example: Tensor) -> Tensor:
        leaves = [values.get(place, fixed.get(place, leaf)) for place, leaf in enumerate(returned.leaves)]
        part = tree_unflatten(leaves, returned.spec)
        return output.answered(lambda *_, **__: part, example).sum()

    def parts(chosen: Sequence[int]) -> tuple[dict[int, Tensor], dict[int, int | None]]:
        whole = {place: returned.leaves[place].detach() for place in chosen}
        axes = {place: 0 if per_example[place] else None for place in chosen}
        return {place: leaf.unsqueeze(1) if per_example[place] else leaf for place, leaf in whole.items()}, axes

    values, value_axes = parts(moving)
    fixed, fixed_axes = parts([place for place in places if place not in moving])
    in_dims = (value_axes, fixed_axes, *(0 for _ in batch))
    gradients = vmap(grad(value), in_dims, randomness="different")(values, fixed, *batch)
    return [(returned.leaves[place], gradients[place].squeeze(1)) for place in moving]


def _joined(stacked: Tensor) -> Tensor:
    """Inputs [1, ..] of calls on one example, stacked [b, 1, ..], as a batch [b, ..]; what all share, once."""
    if len(stacked) > 1 and stacked.stride(0) == 0:
        return stacked[0]
    if stacked.ndim < 2 or stacked.shape[1] != 1:
        raise Unsuitable(f"the model is called on inputs of shape {tuple(stacked.shape[1:])} an example, not [1, ..]")
    return stacked.flatten(0, 1)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and not isinstance(one, Tensor) and one == other
