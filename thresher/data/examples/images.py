"""Labelled images as examples."""

import base64
import io
from functools import cached_property

import numpy as np
import torch

from thresher.data.examples.base import Labelled


class ImageExamples(Labelled):
    """Labelled images. On disk: `images.npy` uint8 [n, h, w, c], and the labels."""

    @cached_property
    def images(self) -> np.ndarray:
        return np.load(self.artifact.file("images.npy"), mmap_mode="r")

    @property
    def reading(self):
        return {**super().reading, "image_shape": list(self.image_shape)}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def batch(self, windows):
        indices = np.asarray(windows)
        # In torch's usual layout: some of its convolutions are wrong in the other (see `proxies.vision`).
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2).contiguous().float()
        # To about zero mean and unit spread, with no statistics that would have to travel with the model.
        return {"pixel_values": images / 127.5 - 1, "labels": torch.from_numpy(self.labels[indices])}

    def lengths(self):
        return np.ones(len(self), dtype=np.int64)

    def preview(self, index):
        return f"label: {self.classes[int(self.labels[index])]}"

    def picture(self, index):
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self.images[index])).save(buffer, format="PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
