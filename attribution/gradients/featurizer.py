"""Features of examples: projected gradients of the model output, of a batch in one forward and one backward pass.

    with Featurizer(model, k=512, seed=0) as featurize:
        features, outputs = featurize(batch)          # [b, 512], and f, loss, p of each example

Row i is the projection of grad f(z_i) over the parameters, f as in TRAK (arXiv 2303.14186): see `thresher.outputs`.
Rows depend on their own example alone. Nothing is taken on trust: the first batch is checked against autograd, and a
parameter whose gradient the hooks get wrong (used by other means than its layer's call) goes to a slower fallback.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import (
    Block,
    Rows,
    layer_sizes,
    masked_blocks,
    two_sided_blocks,
    whole_blocks,
)
from thresher.attribution.gradients.capture import Capture
from thresher.attribution.gradients.fallback import Fallback
from thresher.attribution.gradients.folding import find_pairs
from thresher.attribution.gradients.projection import check_projection, check_request, make_projector
from thresher.devices import autocast, full_float32
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs, logits_of, outputs_of
from thresher.seeds import derive

# How far a captured gradient may be from autograd's, relative to its norm and to that of the whole gradient.
TOLERANCE = {"float32": (1e-2, 1e-4), "bf16": (0.2, 0.02), "fp16": (0.2, 0.02)}
# To what size float16 passes scale the largest gradient at an example's logits: far from both ends of float16.
FP16_SIZE = 16.0


class Featurized(NamedTuple):
    features: Float[Tensor, "b k"]
    outputs: Outputs
    """Detached."""


class Featurizer:
    """Callable on batches; holds hooks on the model (which it puts in eval mode) until closed.

    Between two batches the model may be given other weights, by `load_state_dict` or in place; writing through
    `Tensor.data` goes unseen, so close the featuriser first.
    """

    num_features: int
    coverage: dict[str, str]
    """Parameter name -> how its gradient is captured: the kind of layer, or `fallback`. Final after the first batch."""
    layout: dict[str, tuple[int, int]]
    """Layer -> where its numbers stand in the features (start, stop); one entry `all` unless layers are kept apart."""

    def __init__(
        self,
        model: nn.Module,
        *,
        projection: str = "two-sided",
        k: int = 512,
        seed: int = 0,
        model_id: int = 0,
        output: str = "margin",
        parameters: str | None = None,
        precision: str = "float32",
        device: torch.device | None = None,
    ) -> None:
        """Plan for `model` and draw the projection.

        projection  two-sided: each side of each gradient, then sjlt (see `sketches`) | two-sided-layers: the same,
                    each layer by itself, to its share of k | factor-mask: two-sided by subsets of the coordinates |
                    normal | rademacher | sjlt | mask+sjlt | identity (see `projection`; identity ignores k)
        model_id    number of the checkpoint: each has its own projection
        output      what is differentiated: margin (log odds of the right class) or loss
        parameters  regular expression searched for in parameter names; None: all trainable ones
        precision   of the passes: float32, bf16, fp16 or auto; features are always accumulated in float32 or better
        Raises InputError on unknown options and where no trainable parameter matches.
        """
        if output not in ("margin", "loss"):
            raise InputError(f"output {output!r} is unknown; pass margin or loss")
        check_request(projection, k)
        self.model = model.eval() if device is None else model.to(device).eval()
        self._output, self._precision = output, precision
        chosen = _choose(self.model, parameters)
        first = next(iter(chosen.values()))
        self._device, self._dtype = first.device, torch.promote_types(first.dtype, torch.float32)
        autocast(self._device, precision)  # refuses an unknown precision now
        self._blocks = _blocks(projection, chosen, k, derive(seed, model_id))
        self._size = sum(block.size for block in self._blocks.values())
        layers = layer_sizes(self._blocks)
        self._projector = make_projector(projection, self._size, k, seed=seed, model_id=model_id, layers=layers)
        self.num_features = self._projector.num_features
        self.layout = getattr(self._projector, "layout", {"all": (0, self.num_features)})
        self._capture = Capture(self.model, self._blocks)
        self.coverage = {name: self._capture.kinds.get(name, "fallback") for name in chosen}
        self._fallback = Fallback(self.model, [])
        self._verified = False

    @full_float32()
    def __call__(self, batch: Batch) -> Featurized:
        batch = self._placed(batch)
        if not self._verified:
            check_projection(self._projector, self._size, device=self._device)
            self._verify(batch)
        rows, outputs = self._gradients(batch)
        if self._capture.failed - set(self._fallback.names):  # a use of a layer that the first batch did not have
            self._leave_to_fallback(self._capture.failed)
            rows, outputs = self._gradients(batch)
        return Featurized(self._projector(rows.values), outputs)

    def close(self) -> None:
        """Take the hooks off the model."""
        self._capture.close()

    def __enter__(self) -> "Featurizer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _placed(self, batch: Batch) -> Batch:
        return {name: _laid_out(value.to(self._device)) for name, value in batch.items()}

    def _new_rows(self, num_examples: int) -> Rows:
        return Rows(num_examples, self._size, dtype=self._dtype, device=self._device)

    def _gradients(self, batch: Batch) -> tuple[Rows, Outputs]:
        rows = self._new_rows(len(batch["labels"]))
        with torch.enable_grad(), self._capture.recording(rows):
            with autocast(self._device, self._precision):
                logits = logits_of(self.model, batch)
            leaf = logits.detach().requires_grad_()
            outputs = outputs_of(leaf, batch["labels"])
            (logit_gradients,) = torch.autograd.grad(getattr(outputs, self._output).sum(), leaf)
            factors = None
            if self._precision == "fp16":
                factors = _factors(logit_gradients)
                logit_gradients = logit_gradients * factors.view(-1, *[1] * (logit_gradients.ndim - 1))
            if logits.requires_grad:
                logits.backward(logit_gradients)
        if self._fallback.names:
            with autocast(self._device, self._precision):
                gradients = self._fallback(batch, logit_gradients)
            for name, gradient in gradients.items():
                rows.add_whole(self._blocks[name], gradient.detach())
        if factors is not None:
            rows.values /= factors[:, None]
        return rows, Outputs(*(value.detach() for value in outputs))

    def _verify(self, batch: Batch) -> None:
        """Compare the captured gradients of some examples with autograd's; send what differs to the fallback."""
        some = _few(batch)
        exact = [self._autograd({name: value[[i]] for name, value in some.items()}) for i in range(len(some["labels"]))]
        with autocast(self._device, self._precision):
            pairs = find_pairs(self.model, lambda: logits_of(self.model, some))
        self._capture.fold(pairs)
        wrong = self._wrong(some, exact)
        if wrong and pairs:
            self._capture.fold([])
            without = self._wrong(some, exact)
            if without == wrong:  # folding is not to blame
                self._capture.fold(pairs)
            wrong = without
        self._leave_to_fallback(wrong)
        self._verified = all(bool(_flat(gradients).any()) for gradients in exact)

    def _wrong(self, some: Batch, exact: Sequence[dict[str, Tensor]]) -> set[str]:
        """The parameters whose captured gradients are not those of autograd."""
        rows, _ = self._gradients(some)
        whole = torch.stack([_flat(gradients).norm() for gradients in exact])
        relative, absolute = TOLERANCE["bf16" if self._precision == "auto" else self._precision]
        wrong = self._capture.failed | (self._blocks.keys() - self._capture.seen)
        for name, block in self._blocks.items():
            true = block.project(torch.stack([gradients[name] for gradients in exact]).to(self._dtype))
            found = rows.of(block).flatten(1)
            if bool(((found - true).norm(dim=1) > relative * true.norm(dim=1) + absolute * whole).any()):
                wrong.add(name)
        return wrong

    def _leave_to_fallback(self, names: set[str]) -> None:
        self._capture.drop(names)
        left = names.union(self._fallback.names)
        self._fallback = Fallback(self.model, [name for name in self._blocks if name in left])
        self.coverage |= dict.fromkeys(self._fallback.names, "fallback")

    def _autograd(self, example: Batch) -> dict[str, Tensor]:
        parameters = {name: self.model.get_parameter(name) for name in self._blocks}
        # Unscaled gradients may vanish in float16.
        precision = "float32" if self._precision == "fp16" else self._precision
        with torch.enable_grad(), autocast(self._device, precision):
            outputs = outputs_of(logits_of(self.model, example), example["labels"])
        value = getattr(outputs, self._output).sum()
        gradients = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
        return dict(zip(parameters, gradients, strict=True))


def _choose(model: nn.Module, pattern: str | None) -> dict[str, nn.Parameter]:
    """The trainable parameters whose name, or another name of the same parameter (tied weights), matches."""
    try:
        matches = re.compile(pattern or "").search
    except re.error as error:
        raise InputError(f"parameters {pattern!r} is no regular expression: {error}; correct it") from None
    every = list(model.named_parameters(remove_duplicate=False))
    wanted = {id(parameter) for name, parameter in every if parameter.requires_grad and matches(name)}
    if not wanted:
        names = ", ".join(name for name, _ in every[:3])
        raise InputError(f"no trainable parameter matches {pattern!r}; names look like: {names or '(none at all)'}")
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in wanted}


def _blocks(projection: str, parameters: dict[str, nn.Parameter], k: int, seed: int) -> dict[str, Block]:
    if projection in ("two-sided", "two-sided-layers"):
        return two_sided_blocks(parameters, k=k, seed=seed)
    if projection == "factor-mask":
        return masked_blocks(parameters, k=k, seed=seed)
    return whole_blocks(parameters)


def _factors(gradients: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Powers of two that bring the largest number of each example to FP16_SIZE or half of it; 1 where all are zero."""
    largest = gradients.abs().flatten(1).amax(dim=1)
    return torch.where(largest > 0, torch.exp2((FP16_SIZE / largest).log2().floor()), 1.0)


def _flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


def _laid_out(values: Tensor) -> Tensor:
    """Images with their channels last in memory: on a CPU convolutions, norms and pooling are faster so."""
    images = values.ndim == 4 and values.device.type == "cpu"
    return values.contiguous(memory_format=torch.channels_last) if images else values


def _few(batch: Batch) -> Batch:
    """Two or three examples with the most to predict, in a number that is no other size of the batch's tensors."""
    labels = batch["labels"]
    predicted = (labels != -100).reshape(len(labels), -1).sum(dim=1)
    sizes = {size for value in batch.values() for size in value.shape[1:]}
    count = next(count for count in range(2, 9) if count not in sizes)
    order = predicted.argsort(descending=True, stable=True)[:count]
    order = order[torch.arange(count, device=order.device) % len(order)]
    return {name: value[order] for name, value in batch.items()}
