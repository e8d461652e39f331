"""Labelled images as examples."""

import base64
import io
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image

from thresher.data.examples.base import Labelled, Positions
from thresher.outputs import Batch


class ImageExamples(Labelled):
    """Labelled images. On disk: `images.npy` uint8 [n, h, w, c], and the labels."""

    @cached_property
    def images(self) -> UInt8[np.ndarray, "n h w c"]:
        """The pixels of all images, read from disk as they are asked for."""
        return np.load(self.artifact.file("images.npy"), mmap_mode="r")

    @property
    def reading(self) -> dict[str, Any]:
        """The classes, and the shape of the images."""
        return {**super().reading, "image_shape": list(self.image_shape)}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def batch(self, windows: Positions) -> Batch:
        """`pixel_values` float32 [b, c, h, w] in [-1, 1], and `labels` [b]."""
        indices = np.asarray(windows)
        # In torch's usual layout: some of its convolutions are wrong in the other (see `proxies.models.vision`).
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2).contiguous().float()
        # To about zero mean and unit spread, with no statistics that would have to travel with the model.
        return {"pixel_values": images / 127.5 - 1, "labels": torch.from_numpy(self.labels[indices])}

    def lengths(self) -> Int[np.ndarray, "n"]:
        """An image counts as 1."""
        return np.ones(len(self), dtype=np.int64)

    def preview(self, index: int) -> str:
        """The name of the image's class."""
        return f"label: {self.classes[int(self.labels[index])]}"

    def picture(self, index: int) -> str:
        """The image as a PNG, a `data:` URI."""
        buffer, pixels = io.BytesIO(), np.asarray(self.images[index])
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format="PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
