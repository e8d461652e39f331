"""Views of images: the features of an example as the mean over small changes of its picture.

What a model makes of a picture differs a little from that of its mirror image or of the picture one pixel aside, and
the difference says nothing about what training on the picture does. The mean over views is the gradient of the mean
output over them; on CIFAR-10 scores from it predict retraining better (docs/log.md), at the price of a pass a view.

Features take the mean as they are made (`featurize_views`). Scorers that read gradients themselves take examples whose
views are windows of an example (`viewed`): what holds for a document that is read in several windows holds for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from thresher.attribution.gradients.featurizer import Featurized, Featurizer
from thresher.canonical import hash_json
from thresher.data.examples import Examples, ImageExamples
from thresher.data.examples.base import Positions, Windows
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs

View = Callable[[Tensor], Tensor]
"""Of images [b, c, h, w]."""


def _shifted(rows: int, columns: int) -> View:
    """Moved by at most one pixel each way; what comes in is mirrored at the edge."""

    def view(images: Tensor) -> Tensor:
        padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
        height, width = images.shape[-2:]
        return padded[..., 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]

    return view


def _same(images: Tensor) -> Tensor:
    return images


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(-1)


VIEWS: dict[str, tuple[View, ...]] = {
    "flip": (_same, _mirrored),
    "shift": (_same, _shifted(1, 1), _shifted(-1, -1)),
}


def check_views(names: Sequence[str]) -> None:
    """Raises InputError for a view that is unknown or named twice."""
    for name in names:
        if name not in VIEWS or names.count(name) > 1:
            raise InputError(
                f"views {list(names)}: {name!r} is unknown or there twice; pass some of {', '.join(VIEWS)}"
            )


def combinations(names: Sequence[str]) -> list[tuple[View, ...]]:
    """Every combination of the named views: what is done to an image, one after the other."""
    return list(product(*(VIEWS[name] for name in names)))


def featurize_views(featurizer: Featurizer, batch: Batch, names: Sequence[str]) -> Featurized:
    """Features and outputs of a batch, the mean over every combination of the named views; as it is if none is named.

    Raises InputError where views are named and the examples are not images.
    """
    if not names:
        return featurizer(batch)
    images = batch.get("pixel_values")
    if images is None:
        raise _not_images(names)
    featurized = [featurizer(batch | {"pixel_values": _changed(images, views)}) for views in combinations(names)]
    columns = zip(*(each.outputs for each in featurized), strict=True)
    return Featurized(_mean([each.features for each in featurized]), Outputs(*map(_mean, columns)))


def viewed(examples: Examples, names: Sequence[str]) -> Examples:
    """The same examples, each read in every combination of the named views, of which its gradient is the mean.

    Raises InputError for unknown views, and where views are named and the examples are not images.
    """
    check_views(names)
    if not names:
        return examples
    if not isinstance(examples, ImageExamples):
        raise _not_images(names)
    return ViewedExamples(examples.artifact, tuple(names))


@dataclass(frozen=True)
class ViewedExamples(ImageExamples):
    """Images whose views are the windows that a model reads them in."""

    views: tuple[str, ...] = ()

    @property
    def content_hash(self) -> str:
        """Another hash than that of the images as they are."""
        return hash_json([self.artifact.content_hash, "views", list(self.views)])

    @cached_property
    def windows(self) -> Windows:
        """One for each combination of views; they count alike."""
        count = len(combinations(self.views))
        example = np.repeat(np.arange(len(self)), count)
        return Windows(example, np.full(len(example), 1 / count), np.ones(len(example), dtype=np.int64))

    def batch(self, windows: Positions) -> Batch:
        """`pixel_values` float32 [b, c, h, w] of the views, and `labels` [b]."""
        every = combinations(self.views)
        example, number = np.divmod(np.asarray(windows), len(every))
        batch = super().batch(example)
        images = batch["pixel_values"]
        for place, views in enumerate(every):
            some = torch.from_numpy(number == place)
            images[some] = _changed(images[some], views)
        return batch | {"pixel_values": images}


def _changed(images: Tensor, views: Sequence[View]) -> Tensor:
    for view in views:
        images = view(images)
    return images


def _not_images(names: Sequence[str]) -> InputError:
    return InputError(f"views {list(names)} are of images, and these examples are not; leave views out")


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).to(torch.promote_types(values[0].dtype, torch.float32)).mean(dim=0)
