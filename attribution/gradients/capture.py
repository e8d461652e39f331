"""Per-example gradients of every parameter, from one forward and one backward pass.

Hooks on the layers see what enters them and the gradient of what they give (`layers`); weights require no gradient
meanwhile, so the sum over the batch that autograd would form for each of them is never computed. The graph starts at
the first captured layer: nothing is differentiated with respect to the model's input.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import Block, Rows
from thresher.attribution.gradients.folding import Pair, folded
from thresher.attribution.gradients.layers import Call, Rule, Unsupported, rule_of
from thresher.attribution.gradients.watching import Watch, base_of

# What a rule raises on a use of a layer that it was not made for; the first batch is verified, so the rest is right.
UNFIT = (Unsupported, TypeError, ValueError, IndexError, AttributeError, RuntimeError)


class Capture:
    """The hooks of one model. Outside of `recording` they do nothing."""

    def __init__(self, model: nn.Module, blocks: Mapping[str, Block]) -> None:
        self.model = model
        self.failed: set[str] = set()
        self.seen: set[str] = set()
        self.kinds: dict[str, str] = {}
        self._rows: Rows | None = None
        self._positional: set[nn.Module] = set()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._layers: dict[nn.Module, tuple[Rule, dict[str, Block]]] = {}
        self._watched: list[nn.Module] = []
        self._modules = list(model.modules())
        self._kept: dict[nn.Module, dict[str, Tensor]] = {module: {} for module in self._modules}
        self._pairs: list[Pair] = []
        self._folded: dict[nn.Module, Rule] = {}
        self._folded_norms: set[nn.Module] = set()
        # How often layers downstream change the output of a folded norm in place: as in the pass that was verified.
        self._changes: dict[nn.Module, int] = {}
        self._plan(blocks)

    def fold(self, pairs: Sequence[Pair]) -> None:
        """Run these pairs as one convolution each from now on, and no others."""
        self._pairs = list(pairs)
        self._folded = {pair.convolution: pair.convolution_rule for pair in pairs}
        self._folded |= {pair.norm: pair.norm_rule for pair in pairs}
        self._folded_norms = {pair.norm for pair in pairs}
        self._changes.clear()

    def _plan(self, blocks: Mapping[str, Block]) -> None:
        named = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for module in self.model.modules():
            kind_and_rule = rule_of(module)
            captured = {
                local: blocks[named[id(parameter)]]
                for local, parameter in module.named_parameters(recurse=False)
                if named[id(parameter)] in blocks
            }
            if kind_and_rule is None:
                self.failed |= {block.name for block in captured.values()}
            elif captured:
                self._layers[module] = kind_and_rule[1], captured
                self.kinds |= {block.name: self.kinds.get(block.name, kind_and_rule[0]) for block in captured.values()}
                if base_of(module) is None:
                    self._hooks.append(module.register_forward_hook(self._forward, with_kwargs=True))
                else:
                    self._watched.append(module)

    def drop(self, names: set[str]) -> None:
        """Leave these parameters alone from now on: the fallback has them."""
        for _, captured in self._layers.values():
            for local in [local for local, block in captured.items() if block.name in names]:
                del captured[local]

    def project(self, blocks: Mapping[str, Block]) -> None:
        """Capture the same parameters through other sides from now on, and no pair as one convolution.

        A folded pair multiplies out what is projected on one side alone, to scale its channels.
        """
        self.fold([])
        for _, captured in self._layers.values():
            captured.update({local: blocks[block.name] for local, block in captured.items()})

    def close(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    @contextmanager
    def recording(self, rows: Rows) -> Iterator[None]:
        """Inside, a forward and a backward pass of the model add its gradients to `rows`."""
        usable = [pair for pair in self._pairs if pair.refresh()]
        if len(usable) < len(self._pairs):
            self.fold(usable)
        parameters = [
            parameter for module in self._modules for parameter in module._parameters.values() if parameter is not None
        ]
        flags = [parameter.requires_grad for parameter in parameters]
        # The fused inference path of nn.TransformerEncoderLayer calls none of the layers in it.
        fused = torch.backends.mha.get_fastpath_enabled()
        try:
            self._rows = rows
            torch.backends.mha.set_fastpath_enabled(False)
            for parameter in parameters:
                parameter.requires_grad_(False)
            with folded(self._pairs), Watch(self._watched, self._captured):
                yield
        finally:
            self._rows = None
            torch.backends.mha.set_fastpath_enabled(fused)
            for parameter, flag in zip(parameters, flags, strict=True):
                parameter.requires_grad_(flag)

    def _forward(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        return self._captured(module, args[0] if args else next(iter(kwargs.values()), None), output)

    def _captured(self, module: nn.Module, given: Any, output: Any) -> Any:
        """The output of a layer, whose gradient will be taken in; of a use that no rule knows, as it is."""
        (rule, captured), rows = self._layers[module], self._rows
        # Without gradients it is a rule that calls its own layer again.
        if rows is None or not captured or not torch.is_grad_enabled():
            return output
        rule = self._folded.get(module, rule)
        names = {block.name for block in captured.values()}
        if not isinstance(given, Tensor) or not isinstance(output, Tensor):
            self.failed |= names
            return output
        entered = given.detach()
        if isinstance(module, nn.Embedding):
            output = self._one_per_example(module, entered, output, rows.num_examples)
        version = entered._version
        try:
            with torch.no_grad(), _float32(entered.device.type):
                # Detached: the hook below hangs on the output's node of the graph, and must not hold the graph in turn.
                backward = rule(Call(module, entered, output.detach(), captured, rows, self._kept[module]))
        except torch.OutOfMemoryError:
            raise
        except UNFIT:
            self.failed |= names
            return output
        self.seen |= names

        def hook(gradient: Tensor) -> None:
            changes = entered._version - version
            expected = self._changes.setdefault(module, changes) if module in self._folded_norms else 0
            assert changes == expected, f"the input of {type(module).__name__} was changed in place"
            try:
                with torch.no_grad():
                    backward(gradient)
            except torch.OutOfMemoryError:
                raise
            except UNFIT:
                self.failed.update(names)

        if not output.requires_grad:
            output = _Start.apply(output, torch.ones((), requires_grad=True, device=output.device))
        output.register_hook(hook)
        return output

    def _one_per_example(self, module: nn.Module, indices: Tensor, output: Tensor, num_examples: int) -> Tensor:
        """Position embeddings are looked up once for all examples: give each its own view, and its own gradient.

        Which modules those are is settled in the first pass, whose number of examples is no other size.
        """
        shared = indices.ndim == 1 or indices.shape[0] == 1
        if shared and indices.shape[0] != num_examples:
            self._positional.add(module)
        if module not in self._positional:
            return output
        copies = output if indices.ndim > 1 else output[None]
        return copies.expand(num_examples, *copies.shape[1:])


class _Start(torch.autograd.Function):
    """Starts the graph; marked as changed in place, so that in-place layers may follow."""

    @staticmethod
    def forward(ctx, values: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(values)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, None


def _float32(kind: str) -> AbstractContextManager:
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
