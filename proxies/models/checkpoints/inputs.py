"""How a checkpoint wants its images: their size and channels, and what is done to their pixels.

Prepared examples come as numbers from -1 to 1. What the checkpoint's own processor makes of an image (rescaling,
normalisation, order of channels) is found by asking it: an affine map of the channels of each pixel, applied to every
input by a hook, so that the model stays the class it is. Resizing is left to `thresher prepare --size`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from thresher.errors import InputError

FILES = ("preprocessor_config.json", "processor_config.json")
# How far the affine map may be from the processor, in units of its output.
TOLERANCE = 1e-3
TRIAL_SIZE = 32


def describe(name: str, config: Any) -> dict[str, Any]:
    """What a specification says of a checkpoint's images: `image_shape` [c, h, w], where it says one, and `inputs`.

    `inputs` is what is done to pixels and who says so. Raises InputError for a processor that cannot be used, or that
    does more to pixels than an affine map of their channels.
    """
    processor = _processor(name)
    channels = int(getattr(config, "num_channels", None) or 3)
    said = getattr(config, "image_size", None) or (processor and _size_of(processor)) or None
    size = None if said is None else _pair(said)
    described: dict[str, Any] = {"image_shape": [channels, *size]} if size else {"num_channels": channels}
    if processor is None:
        return described | {"inputs": {"pixels": "from -1 to 1; the checkpoint does not say"}}
    matrix, offset = _affine(name, processor, channels, size or (TRIAL_SIZE, TRIAL_SIZE))
    return described | {"inputs": as_inputs(matrix, offset, f"as its {type(processor).__name__} prepares them")}


def as_inputs(matrix: Float[np.ndarray, "c c"], offset: Float[np.ndarray, "c"], words: str) -> dict[str, Any]:
    """The `inputs` of a specification, for pixels from -1 to 1, from an affine map of pixels from 0 to 1.

    `words` say where the map comes from; a map that changes nothing is left out.
    """
    inner, shift = matrix / 2, offset + matrix.sum(axis=1) / 2
    if np.allclose(inner, np.eye(len(inner)), atol=1e-6) and np.allclose(shift, 0, atol=1e-6):
        return {"pixels": f"{words}: from -1 to 1"}
    return {"pixels": words, "matrix": inner.tolist(), "offset": shift.tolist()}


def honour(model: nn.Module, inputs: dict[str, Any]) -> None:
    """Have `model` prepare every image it gets as `inputs` says; where it says nothing, images stay as they are."""
    if "matrix" in inputs:
        model.register_forward_pre_hook(_Prepare(inputs["matrix"], inputs["offset"]), with_kwargs=True)


class _Prepare:
    def __init__(self, matrix: list[list[float]], offset: list[float]) -> None:
        self.matrix, self.offset = torch.tensor(matrix), torch.tensor(offset)
        off_diagonal = self.matrix - torch.diag(self.matrix.diagonal())
        self.is_diagonal = not bool(off_diagonal.any())

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if "pixel_values" in kwargs:
            return args, kwargs | {"pixel_values": self.apply(kwargs["pixel_values"])}
        return (self.apply(args[0]), *args[1:]), kwargs

    def apply(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The prepared images."""
        matrix, offset = self.matrix.to(images), self.offset.to(images)[:, None, None]
        if self.is_diagonal:
            return images * matrix.diagonal()[:, None, None] + offset
        return torch.einsum("dc,bchw->bdhw", matrix, images) + offset


def _processor(name: str) -> Any:
    folder = Path(name)
    if folder.is_dir() and not any((folder / file).is_file() for file in FILES):
        return None
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except OSError as error:
        if folder.is_dir():
            raise _unusable(name, error) from None
        return None  # a repository without one
    except Exception as error:
        raise _unusable(name, error) from None


def _affine(
    name: str, processor: Any, channels: int, size: tuple[int, int]
) -> tuple[Float[np.ndarray, "c c"], Float[np.ndarray, "c"]]:
    """What the processor does to a pixel's channels from 0 to 1: out = matrix in + offset, checked on noise."""
    blank = np.zeros((*size, channels), dtype=np.uint8)
    single = [blank.copy() for _ in range(channels)]
    for channel, image in enumerate(single):
        image[..., channel] = 255
    noise = np.random.default_rng(0).integers(0, 256, blank.shape).astype(np.uint8)
    try:
        outputs = np.stack([_processed(processor, image) for image in (blank, *single, noise)])
    except Exception as error:
        raise _unusable(name, error) from None
    offset = outputs[0].mean(axis=(1, 2))
    matrix = np.stack([image.mean(axis=(1, 2)) - offset for image in outputs[1:-1]], axis=1)
    expected = np.einsum("dc,hwc->dhw", matrix, noise / 255) + offset[:, None, None]
    farthest = TOLERANCE * max(1, np.abs(matrix).max())
    if outputs[-1].shape != expected.shape or np.abs(outputs[-1] - expected).max() > farthest:
        raise InputError(
            f"{name}: its {type(processor).__name__} does more to an image than to rescale and normalise its pixels; "
            "give a checkpoint whose preprocessor_config.json asks for that alone"
        )
    return matrix, offset


def _processed(processor: Any, image: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, "c h w"]:
    """One image as the processor gives it, without resizing or cropping."""
    given: dict[str, Any] = {"images": [image], "return_tensors": "pt", "input_data_format": "channels_last"}
    pixels = processor(do_resize=False, do_center_crop=False, **given)["pixel_values"]
    return np.asarray(pixels, dtype=np.float64)[0]


def _size_of(processor: Any) -> Any:
    for wanted, key in (("do_center_crop", "crop_size"), ("do_resize", "size")):
        if getattr(processor, wanted, None) and getattr(processor, key, None):
            return getattr(processor, key)
    return None


def _pair(size: Any) -> tuple[int, int] | None:
    """(height, width) of what configurations write: 224, [224, 224], {"height": .., "width": ..} or a shortest edge."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple):
        return int(size[0]), int(size[-1])
    sides = dict(size)
    edge = sides.get("shortest_edge")
    height, width = sides.get("height") or edge, sides.get("width") or edge
    return (int(height), int(width)) if height and width else None


def _unusable(name: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return InputError(
        f"{name}: its preprocessor_config.json cannot be used ({type(error).__name__}: {reason}); repair it, or remove "
        "it to give the model pixels from -1 to 1"
    )
