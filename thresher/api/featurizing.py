"""The verb that makes features: a pass over prepared examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thresher.api.checkpoint import pairs_of
from thresher.api.handle import Source
from thresher.api.handles import Examples, FeatureStore
from thresher.attribution.features import featurize as features_module
from thresher.data.examples import is_packed
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.rules import ruled
from thresher.studies.scoring.effort import say_pass


@ruled
def featurize(
    models: Any,
    examples: Source,
    *,
    out: str | Path,
    windows: bool = False,
    k: int | None = None,
    projection: str = "auto",
    output: str = "margin",
    parameters: str | None = None,
    precision: str = "float32",
    views: Sequence[str] = (),
    batch_tokens: int | None = None,
    executor: str = "processes",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> FeatureStore:
    """One forward and backward pass over prepared examples: projected gradients, outputs and losses, on disk.

    models      one or several: what `train` gave, names and paths, modules, or `Checkpoint`s
    windows     of documents, every window that a model reads is an example of its own, ID:0, ID:1, ...
    k           numbers that a gradient is projected to; None: 8,192 of text under a language model, else 4,096
    projection  auto (sjlt), two-sided, two-sided-layers, factor-mask, normal, rademacher, sjlt, mask+sjlt or identity
    views       of images: flip and shift, which features are averaged over
    executor    processes, or ray

    Raises InputError for models that cannot read the examples and for options that are unknown.
    """
    prepared = Examples.of(examples).load()
    if windows:
        if not is_packed(prepared):
            raise InputError(f"{prepared.artifact.path} holds no documents to take the windows of; leave out --windows")
        prepared = prepared.by_window()
    loaders = pairs_of(models, prepared)
    say_pass(loaders, prepared, projection, k, batch_tokens=batch_tokens, device=device, out=Path(out))
    artifact = features_module.featurize(
        loaders,
        prepared,
        out=Path(out),
        projection=projection,
        k=k,
        seed=seed,
        output=output,
        parameters=parameters,
        precision=precision,
        views=tuple(views),
        device=device,
        batch_tokens=batch_tokens,
        executor=executor,
        progress=progress,
    )
    return FeatureStore(artifact)
