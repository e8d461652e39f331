"""Features of examples: projected gradients of the model output, of a batch in one forward and one backward pass.

    with Featurizer(model, k=512, seed=0) as featurize:
        features, outputs = featurize(batch)          # [b, 512], and f, loss, p of each example

Row i is the projection of grad f(z_i) over the parameters, f as in TRAK (arXiv 2303.14186): see `thresher.outputs`.
Rows depend on their own example alone. Gradients are read by a `GradientEngine`, which verifies them.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.attribution.gradients.blocks import (
    Block,
    layer_sizes,
    masked_blocks,
    two_sided_blocks,
    whole_blocks,
)
from thresher.attribution.gradients.engine import EngineUser, GradientEngine
from thresher.attribution.gradients.projection import SIDED, check_projection, check_request, make_projector
from thresher.attribution.gradients.streamed import SketchedRows, SumOfSketches
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs
from thresher.seeds import derive


class Featurized(NamedTuple):
    """Features and outputs of a batch."""

    features: Float[Tensor, "b k"]
    outputs: Outputs
    """Detached."""


class Featurizer(EngineUser):
    """Callable on batches; holds hooks on the model (which it puts in eval mode) until closed.

    Between two batches the model may be given other weights, by `load_state_dict` or in place; writing through
    `Tensor.data` goes unseen, so close the featuriser first.
    """

    num_features: int
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
        scales: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Plan for `model` and draw the projection.

        projection  two-sided: each side of each gradient, then sjlt (see `blocks`) | two-sided-layers: the same,
                    each layer by itself, to its share of k | factor-mask: two-sided by subsets of the coordinates |
                    normal | rademacher | sjlt (to no more than the D numbers there are; see `streamed`) | mask+sjlt |
                    identity (see `projection`; identity ignores k)
        model_id    number of the checkpoint: each has its own projection
        output      what is differentiated: margin (log odds of the right class) or loss
        parameters  regular expression searched for in parameter names; None: all trainable ones
        precision   of the passes: float32, bf16, fp16 or auto; features are always accumulated in float32 or better
        scales      what gradients are multiplied by before they are projected, by parameter, of its shape: TrackStar's
                    inverse roots of second moments (2410.17413). Not with projections that take gradients apart
        Raises InputError on unknown options, where no trainable parameter matches, and for scales that are missing.
        """
        check_request(projection, k)
        if scales is not None and projection in SIDED:
            raise InputError(f"projection {projection} keeps no gradients that could be scaled; pass sjlt")
        plan = partial(_blocks, projection, k, derive(seed, model_id))
        self.engine = GradientEngine(
            model, plan, output=output, parameters=parameters, precision=precision, device=device
        )
        self._scales = None if scales is None else _laid_out(scales, self.engine.blocks)
        layers, size = layer_sizes(self.engine.blocks), self.engine.size
        if projection == "sjlt":
            k = min(k, size)
            sizes = {name: block.size for name, block in self.engine.blocks.items()}
            self._projector = SumOfSketches(sizes, k, seed=seed, names=(model_id,))
        else:
            self._projector = make_projector(projection, size, k, seed=seed, model_id=model_id, layers=layers)
        self.num_features = self._projector.num_features
        self.layout = getattr(self._projector, "layout", {"all": (0, self.num_features)})

    @property
    def model(self) -> nn.Module:
        """The model whose gradients are projected."""
        return self.engine.model

    @property
    def coverage(self) -> dict[str, str]:
        """Parameter name -> the layer kind that captures its gradient, or `fallback`. Final after the first batch."""
        return self.engine.coverage

    @full_float32()
    def __call__(self, batch: Batch) -> Featurized:
        """Features and outputs of a batch. Raises InputError for a projection that this device computes wrongly."""
        if not self.engine.verified:
            check_projection(self._projector, self.engine.size, device=self.engine.device)
        sketch = self._projector
        if isinstance(sketch, SumOfSketches):
            rows, outputs = self.engine.read_anew(
                batch, lambda n, _, **place: SketchedRows(n, sketch, self._scales, **place)
            )
            return Featurized(rows.values, outputs)
        rows, outputs = self.engine.read_anew(batch)
        values = rows.values
        if self._scales is not None:
            values = values * torch.cat([scale.flatten() for scale in self._scales.values()]).to(values)
        return Featurized(sketch(values), outputs)


def _laid_out(scales: Mapping[str, Tensor], blocks: Mapping[str, Block]) -> dict[str, Tensor]:
    """The scales of the blocks, in their order."""
    for name, block in blocks.items():
        if name not in scales or scales[name].shape != block.shape:
            raise InputError(
                f"the gradients of {name} are to be scaled and have no scales of their shape; score without"
            )
    return {name: scales[name] for name in blocks}


def _blocks(projection: str, k: int, seed: int, parameters: Mapping[str, nn.Parameter]) -> dict[str, Block]:
    if projection in ("two-sided", "two-sided-layers"):
        return two_sided_blocks(parameters, k=k, seed=seed)
    if projection == "factor-mask":
        return masked_blocks(parameters, k=k, seed=seed)
    return whole_blocks(parameters)
