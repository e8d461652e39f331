"""`thresher featurize`: projected gradients of prepared examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thresher.choices import Executor, Output, Projection, View
from thresher.cli.command import Command, made
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Featurize(Command):
    """One forward and backward pass over examples: projected per-example gradients, outputs and losses, on disk."""

    usage = "thresher featurize --models proxy-0 proxy-1 --examples pool --out pool-features"

    models: tuple[str, ...]
    """Model artefacts or transformers checkpoints; several make an ensemble."""
    examples: Path
    """A prepared pool or target."""
    out: Path
    windows: bool = False
    """Of documents: every window that a model reads is an example of its own, ID:0, ID:1, ...; their scores say which
    part of a document helps."""
    k: int | None = None
    """Numbers a gradient is projected to; None: 8,192 of text under a language model, 4,096 where there are classes."""
    projection: Literal["auto"] | Projection = "auto"
    """auto (sjlt), two-sided, two-sided-layers, factor-mask, normal, rademacher, sjlt, mask+sjlt or identity."""
    output: Output = "margin"
    """margin (log p / (1 - p), TRAK's) or loss."""
    parameters: str | None = None
    """A regular expression: only the gradients of the parameters it finds."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Of the pass itself; projections accumulate in float32."""
    views: tuple[View, ...] = ()
    """Of images: flip and shift average an example's features over its mirror image and over shifts by a pixel, a pass
    each (both: 6)."""
    batch_tokens: int | None = None
    """Tokens (or images) in a batch; None: chosen."""
    executor: Executor = "processes"
    """Where shards are done: processes (here, one after another), or ray (a cluster, see docs/training.md)."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Make the feature store."""
        from thresher.api.featurizing import featurize

        store = featurize(
            self.models,
            self.examples,
            out=self.out,
            windows=self.windows,
            k=self.k,
            projection=self.projection,
            output=self.output,
            parameters=self.parameters,
            precision=self.precision,
            views=self.views,
            batch_tokens=self.batch_tokens,
            executor=self.executor,
            seed=self.seed,
            device=self.device,
            progress=progress,
        )
        return made(store.artifact)

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import beside, targets_of

        is_pool = not self.windows and bool(targets_of(self.examples))
        return ["thresher", "index", "--features", self.out, "--out", beside(self.out, "index")] if is_pool else None

    def show(self, result: Mapping[str, Any]) -> str:
        """Where the store is, and how well each model predicts."""
        lines = [f"path: {result['path']}", f"{result['num_examples']:,} examples, k = {result['k']}"]
        for name, outputs in zip(self.models, result["outputs"], strict=True):
            lines.append(f"{name}: {outputs_line(outputs)}")
        fallback = sorted(name for name, kind in result["coverage"].items() if kind == "fallback")
        if fallback:
            shown = ", ".join(fallback[:3]) + (", .." if len(fallback) > 3 else "")
            lines.append(f"gradients of {len(fallback)} parameters the slow way: {shown}")
        return "\n".join(lines)


def outputs_line(outputs: Mapping[str, float]) -> str:
    """Loss and accuracy of a model, and a warning where it does no better than to guess."""
    loss, uniform = outputs["loss"], outputs["uniform_loss"]
    line = f"loss {loss:.4g} (a uniform guess: {uniform:.4g}), accuracy {outputs['accuracy']:.1%}"
    guesses = loss > 0.98 * uniform
    return line + ("; no better than a guess: is it trained, and on such data?" if guesses else "")


COMMAND = Featurize
