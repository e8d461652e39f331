"""A model as attribution takes it: known by its weights and how they are used, loaded when its turn comes."""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from thresher.api.handles import Examples
from thresher.artifacts import Artifact
from thresher.attribution.identity import identity_of_module
from thresher.data.examples import Examples as PreparedExamples
from thresher.errors import InputError
from thresher.proxies.models.weights import loaders_of

Loader = tuple[str, Callable[[], nn.Module]]


@dataclass(frozen=True)
class Checkpoint:
    """A trained model: what `train` gave, a name or path as every command takes it, or a torch.nn.Module.

    A checkpoint of `transformers` or torchvision is read for examples (its classes, its size of images), so `examples`
    must be there for such names; the verbs fill it in.
    """

    source: Any
    examples: PreparedExamples | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return type(self.source).__name__ if isinstance(self.source, nn.Module) else _name_of(self.source)

    @property
    def content_hash(self) -> str:
        """Of the weights: the same for the same numbers, wherever they come from; of a module also how it uses them."""
        return self._pair[0]

    def load(self) -> nn.Module:
        """The model in evaluation mode and float32; a module is copied, so that the given one stays as it is."""
        return self._pair[1]()

    def reading(self, *examples: Any) -> "Checkpoint":
        """The same model, for examples that it must be able to read."""
        first = examples[0]
        return Checkpoint(self.source, first if isinstance(first, PreparedExamples) else Examples.of(first).load())

    @property
    def _pair(self) -> Loader:
        if isinstance(self.source, nn.Module):
            module = self.source
            return identity_of_module(module), lambda: copy.deepcopy(module).float().eval()
        if self.examples is None:
            raise InputError(
                f"checkpoint {self.name!r} is opened for examples; pass it to a verb, or use reading(examples)"
            )
        return loaders_of([self.name], self.examples)[0]

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r})"


def pairs_of(models: Any, pool: PreparedExamples, *others: PreparedExamples) -> list[Loader]:
    """(content hash, loader) of each model, in order, as the parts take them; one model may stand by itself.

    Raises InputError for models that cannot read all of the examples.
    """
    given = [one.source if isinstance(one, Checkpoint) else one for one in listed(models)]
    names = [_name_of(one) for one in given if not isinstance(one, nn.Module)]
    opened = iter(loaders_of(names, pool, *others) if names or not given else [])
    return [Checkpoint(one)._pair if isinstance(one, nn.Module) else next(opened) for one in given]


def names_of(models: Any) -> list[str]:
    """Models by name, for steps that open them again. Raises InputError for modules in memory."""
    given = [one.source if isinstance(one, Checkpoint) else one for one in listed(models)]
    for one in given:
        if isinstance(one, nn.Module):
            raise InputError(
                f"a {type(one).__name__} in memory cannot be opened again; save it and give its path or module:function"
            )
    return [_name_of(one) for one in given]


def listed(models: Any) -> Sequence[Any]:
    """Several models as they are, one as a list of one."""
    single = isinstance(models, str | os.PathLike | Artifact | nn.Module | Checkpoint)
    return [models] if single else list(models)


def _name_of(source: Any) -> str:
    return str(source.path) if isinstance(source, Artifact) else os.fspath(source)
