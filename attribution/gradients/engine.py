"""Per-example gradients of a model, from one forward and one backward pass of a batch, verified against autograd.

    engine = GradientEngine(model, whole_blocks, output="margin")
    rows, outputs = engine.read_anew(batch)      # the first batch is compared with autograd
    outputs = engine.read(batch, other_rows)     # the same gradients, added to rows of another kind

Hooks on the layers capture most gradients (see `capture`). Nothing is taken on trust: a parameter whose gradient the
hooks get wrong on the first batch (because it is used by other means than its layer's call) goes to a slower fallback.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import Block, Rows, whole_blocks
from thresher.attribution.gradients.capture import Capture
from thresher.attribution.gradients.fallback import Fallback
from thresher.attribution.gradients.folding import find_pairs
from thresher.attribution.gradients.verification import most_predicted, wrong_parameters
from thresher.devices import autocast, full_float32
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs, logits_of, outputs_of

# To what size float16 passes scale the largest gradient at an example's logits: far from both ends of float16.
FP16_SIZE = 16.0

User = TypeVar("User", bound="EngineUser")
Directions = Mapping[str, Tensor]
"""Vectors in parameter space, by parameter: [d, *shape]."""
NewRows = Callable[..., Rows]
"""Makes rows from the arguments of `Rows`."""
Plan = Callable[[Mapping[str, nn.Parameter]], dict[str, Block]]
"""What is kept of the gradients of these parameters, and where it stands in a row."""
LogitGradients = Callable[[Tensor, Batch], Tensor]
"""From the logits of a batch, detached, and the batch to the gradient at each logit: the pull-back of other outputs."""


class GradientEngine:
    """Holds hooks on the model, which it puts in eval mode, until it is closed.

    Between two batches the model may be given other weights, by `load_state_dict` or in place; writing through
    `Tensor.data` goes unseen, so close the engine first.
    """

    coverage: dict[str, str]
    """Parameter name -> how its gradient is captured: the kind of layer, or `fallback`. Final after the first batch."""

    def __init__(
        self,
        model: nn.Module,
        plan: Plan = whole_blocks,
        *,
        output: str = "margin",
        parameters: str | None = None,
        precision: str = "float32",
        device: torch.device | None = None,
    ) -> None:
        """Choose the parameters, plan their blocks, and put the hooks on `model`.

        plan        from the chosen parameters to the blocks that are kept of their gradients
        output      what is differentiated: margin (log odds of the right class) or loss
        parameters  regular expression searched for in parameter names; None: all trainable ones
        precision   of the passes: float32, bf16, fp16 or auto; rows are always float32 or better
        Raises InputError on unknown options and where no trainable parameter matches.
        """
        if output not in ("margin", "loss"):
            raise InputError(f"output {output!r} is unknown; pass margin or loss")
        self.model = model.eval() if device is None else model.to(device).eval()
        self._output, self._precision = output, precision
        chosen = _choose(self.model, parameters)
        first = next(iter(chosen.values()))
        self.device, self.dtype = first.device, torch.promote_types(first.dtype, torch.float32)
        autocast(self.device, precision)  # refuses an unknown precision now
        self.blocks = plan(chosen)
        self.size = sum(block.size for block in self.blocks.values())
        self.verified = False
        self._capture = Capture(self.model, self.blocks)
        self._fallback = Fallback(self.model, [])
        self.coverage = {name: self._capture.kinds.get(name, "fallback") for name in chosen}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters whose gradients are read."""
        return tuple(self.blocks)

    @full_float32()
    def read_anew(self, batch: Batch, new_rows: NewRows = Rows) -> tuple[Rows, Outputs]:
        """New rows of a batch and its outputs, detached. Verifies the first batch.

        A parameter that the hooks turn out to miss is left to the fallback, and the batch is read again.
        `new_rows` makes rows of another kind than those of all numbers.
        """
        batch = self._place(batch)
        if not self.verified:
            self._verify(batch)
        rows = new_rows(len(batch["labels"]), self.size, dtype=self.dtype, device=self.device)
        outputs = self._add(batch, rows)
        if missed := self._missed():  # a use of a layer that the first batch did not have
            self._leave_to_fallback(missed)
            rows = new_rows(len(batch["labels"]), self.size, dtype=self.dtype, device=self.device)
            outputs = self._add(batch, rows)
        return rows, outputs

    @torch.no_grad()
    @full_float32()
    def read(self, batch: Batch, rows: Rows, at_logits: LogitGradients | None = None) -> Outputs:
        """Add the gradients of a batch to `rows`; the outputs of its examples, detached.

        They are those of the output, or what `at_logits` gives, pulled back. Raises InputError for what the fallback
        would have to take over only now: `rows` hold a part of it already.
        """
        outputs = self._add(self._place(batch), rows, at_logits)
        if missed := self._missed():
            raise InputError(
                f"the model uses {', '.join(sorted(missed)[:3])} in other ways for some examples than for others; "
                "score it from features, which allow for that"
            )
        return outputs

    def autograd(self, example: Batch) -> dict[str, Tensor]:
        """The gradient of one example by plain autograd, by parameter."""
        example = self._place(example)
        parameters = {name: self.model.get_parameter(name) for name in self.blocks}
        # Unscaled gradients may vanish in float16.
        precision = "float32" if self._precision == "fp16" else self._precision
        with torch.enable_grad(), autocast(self.device, precision):
            outputs = outputs_of(logits_of(self.model, example), example["labels"])
        value = getattr(outputs, self._output).sum()
        gradients = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
        return dict(zip(parameters, gradients, strict=True))

    def capture_through(self, blocks: Mapping[str, Block]) -> None:
        """Capture the same parameters through the sides of other blocks from now on."""
        self._capture.project(blocks)

    def close(self) -> None:
        """Take the hooks off the model."""
        self._capture.close()

    def _place(self, batch: Batch) -> Batch:
        return {name: _laid_out(value.to(self.device)) for name, value in batch.items()}

    def _new_rows(self, batch: Batch) -> Rows:
        return Rows(len(batch["labels"]), self.size, dtype=self.dtype, device=self.device)

    def _add(self, batch: Batch, rows: Rows, at_logits: LogitGradients | None = None) -> Outputs:
        with torch.enable_grad(), self._capture.recording(rows):
            with autocast(self.device, self._precision):
                logits = logits_of(self.model, batch)
            leaf = logits.detach().requires_grad_()
            outputs = outputs_of(leaf, batch["labels"])
            if at_logits is None:
                (logit_gradients,) = torch.autograd.grad(getattr(outputs, self._output).sum(), leaf)
            else:
                logit_gradients = at_logits(logits.detach(), batch)
            factors = None
            if self._precision == "fp16":
                factors = _factors(logit_gradients)
                logit_gradients = logit_gradients * factors.view(-1, *[1] * (logit_gradients.ndim - 1))
            if logits.requires_grad:
                logits.backward(logit_gradients)
        if self._fallback.names:
            with autocast(self.device, self._precision):
                gradients = self._fallback(batch, logit_gradients)
            for name, gradient in gradients.items():
                rows.add_whole(self.blocks[name], gradient.detach())
        if factors is not None:
            rows.values /= factors[:, None]
        return Outputs(*(value.detach() for value in outputs))

    def _missed(self) -> set[str]:
        return self._capture.failed - set(self._fallback.names)

    def _leave_to_fallback(self, names: set[str]) -> None:
        self._capture.drop(names)
        left = names.union(self._fallback.names)
        self._fallback = Fallback(self.model, [name for name in self.blocks if name in left])
        self.coverage |= dict.fromkeys(self._fallback.names, "fallback")

    def _verify(self, batch: Batch) -> None:
        """Compare the captured gradients of some examples with autograd's; send what differs to the fallback."""
        some = most_predicted(batch)
        singles = [{name: value[[i]] for name, value in some.items()} for i in range(len(some["labels"]))]
        examples = [self.autograd(single) for single in singles]
        norms = torch.stack([_norm(example) for example in examples])
        exact = {name: torch.stack([example.pop(name) for example in examples]) for name in self.blocks}
        with autocast(self.device, self._precision):
            pairs = find_pairs(self.model, lambda: logits_of(self.model, some))
        self._capture.fold(pairs)
        wrong = self._wrong(some, exact, norms)
        if wrong and pairs:
            self._capture.fold([])
            without = self._wrong(some, exact, norms)
            if without == wrong:  # folding is not to blame
                self._capture.fold(pairs)
            wrong = without
        self._leave_to_fallback(wrong)
        self.verified = bool((norms != 0).all())

    def _wrong(self, some: Batch, exact: Mapping[str, Tensor], norms: Float[Tensor, "b"]) -> set[str]:
        rows = self._new_rows(some)
        self._add(some, rows)
        return wrong_parameters(self._capture, self.blocks, rows, exact, norms, half=self._precision != "float32")


class EngineUser:
    """What reads gradients through an engine; closing it takes the engine's hooks off the model."""

    engine: GradientEngine

    def close(self) -> None:
        """Take the hooks off the model."""
        self.engine.close()

    def __enter__(self: User) -> User:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _choose(model: nn.Module, pattern: str | None) -> dict[str, nn.Parameter]:
    """The trainable parameters whose name, or another name of the same parameter (tied weights), matches."""
    try:
        matches = re.compile(pattern or "").search
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"parameters {pattern!r} is no regular expression: {error}; correct it") from None
    every = list(model.named_parameters(remove_duplicate=False))
    matching = {id(parameter) for name, parameter in every if parameter.requires_grad and matches(name)}
    if not matching:
        names = ", ".join(name for name, _ in every[:3])
        raise InputError(f"no trainable parameter matches {pattern!r}; names look like: {names or '(none at all)'}")
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in matching}


def _factors(gradients: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
    """Powers of two that bring the largest number of each example to FP16_SIZE or half of it; 1 where all are zero."""
    largest = gradients.abs().flatten(1).amax(dim=1)
    return torch.where(largest > 0, torch.exp2((FP16_SIZE / largest).log2().floor()), 1.0)


def _norm(gradients: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    return torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()


def _laid_out(values: Tensor) -> Tensor:
    """Images with their channels last in memory: on a CPU convolutions, norms and pooling are faster so."""
    images = values.ndim == 4 and values.device.type == "cpu"
    return values.contiguous(memory_format=torch.channels_last) if images else values
