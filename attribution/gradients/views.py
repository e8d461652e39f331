"""Views of images: the features of an example as the mean over small changes of its picture.

What a model makes of a picture differs a little from that of its mirror image or of the picture one pixel aside, and
the difference says nothing about what training on the picture does. The mean over views is the gradient of the mean
output over them; on CIFAR-10 scores from it predict retraining better (docs/log.md), at the price of a pass a view.
"""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from thresher.attribution.gradients.featurizer import Featurized, Featurizer
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


def featurize_views(featurizer: Featurizer, batch: Batch, names: Sequence[str]) -> Featurized:
    """Features and outputs of a batch, the mean over every combination of the named views; as it is if none is named.

    Raises InputError where views are named and the examples are not images.
    """
    if not names:
        return featurizer(batch)
    images = batch.get("pixel_values")
    if images is None:
        raise InputError(f"views {list(names)} are of images, and these examples are not; leave views out")
    featurized = []
    for combination in product(*(VIEWS[name] for name in names)):
        changed = images
        for view in combination:
            changed = view(changed)
        featurized.append(featurizer(batch | {"pixel_values": changed}))
    columns = zip(*(each.outputs for each in featurized), strict=True)
    return Featurized(_mean([each.features for each in featurized]), Outputs(*map(_mean, columns)))


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).to(torch.promote_types(values[0].dtype, torch.float32)).mean(dim=0)
