"""Examples as a page shows them: whole texts with the scored part apart, or pictures; and which are the same."""

import base64
import io
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Int
from PIL import Image

from thresher.data.examples import Examples, ImageExamples, TokenExamples, WindowExamples
from thresher.data.examples.scored import scored_texts

MOST_FOLDED = 50_000
"""Pool examples that are compared with each other, whose texts are all read for it."""
SIDE = 256
"""Pixels: larger pictures are made smaller."""
Shown = list[str] | str | None
"""Of a text [scored], or [before, scored, after]; of a picture a `data:` URI; None: not in the page."""


def documents_of(examples: Examples, rows: Sequence[int] | np.ndarray) -> list[Shown]:
    """The examples at `rows`, [m], nothing of a text left out."""
    if isinstance(examples, ImageExamples):
        return [picture_of(examples, int(row)) for row in rows]
    if isinstance(examples, WindowExamples) or not isinstance(examples, TokenExamples):
        return [[examples.preview(int(row))] for row in rows]
    return [[part.scored] if not part.before and not part.after else list(part) for part in
            scored_texts(examples, rows)]  # fmt: skip


def picture_of(examples: ImageExamples, row: int) -> str:
    """A PNG where that is small or the picture has at most 64 pixels a side, else WebP of at most `SIDE`."""
    height, width = examples.images.shape[1:3]
    if max(height, width) <= 64:
        return examples.picture(row)
    pixels = np.asarray(examples.images[row])
    image, buffer = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, format="WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def copies_of(examples: Examples) -> Int[np.ndarray, "n"] | None:
    """For each example the first that is the same as it, [n]; None for pools of more than `MOST_FOLDED`.

    Texts are the same whatever their case and white space; pictures are the same in every pixel, whatever their label.
    """
    if len(examples) > MOST_FOLDED:
        return None
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(_content(examples, row), row) for row in range(len(examples))], dtype=np.int64)


def _content(examples: Examples, row: int) -> bytes:
    if isinstance(examples, ImageExamples):
        return blake2b(np.ascontiguousarray(examples.images[row]).tobytes(), digest_size=16).digest()
    text = " ".join(examples.preview(row).casefold().split())
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
