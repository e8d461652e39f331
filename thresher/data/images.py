"""Images into examples: from an image folder or a table with an image column, or from arrays."""

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thresher.artifacts import Artifact, Draft, build
from thresher.data.arrays import ArrayWriter
from thresher.data.sources import IdCheck, Source
from thresher.data.tables import ExamplesTable, chunks
from thresher.errors import InputError
from thresher.progress import SILENT, Progress, track


class LabelledImage(NamedTuple):
    id: str
    pixels: np.ndarray
    """uint8 [h, w, c]."""
    label: str

    @property
    def content(self) -> bytes:
        """What makes two images the same, for `part_of`."""
        return self.pixels.tobytes()


def read_images(
    source: Source, *, image: str = "image", label: str = "label", id: str | None = None, size: int | None = None
) -> Iterator[LabelledImage]:
    """Images in the source's order, three channels, resized to `size` x `size` if that is given.

    Without an id column, files are named by their path, other rows numbered. Raises InputError, naming the row, for an
    image that does not decode and for an id that occurs twice.
    """
    if size is not None and size < 1:
        raise InputError(f"size={size} is no size of an image; pass 1 or more")
    named, check = id or source.natural_id, IdCheck(source)
    wanted = [column for column in (image, label, id) if column is not None]
    for number, row in enumerate(source.read(wanted)):
        if row.values is None:
            continue
        own = str(number) if named is None else check(row.values[named], row)
        if own is not None:
            pixels = _decode(row.values[image], f"{row.where} ({own})", size)
            yield LabelledImage(own, pixels, str(row.values[label]))


def classes_of(source: Source, *, label: str = "label") -> list[str]:
    """The labels that occur, numbers in numerical order."""
    found = {str(row[label]) for row in source.rows([label])}
    classes = sorted(found, key=lambda name: name.zfill(12) if name.isdigit() else name)
    if len(classes) < 2:
        raise InputError(f"{source.name} has {len(classes)} labels {classes}; classification needs at least two")
    return classes


def _decode(value: Any, where: str, size: int | None) -> np.ndarray:
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(value["bytes"]) if value.get("bytes") else value["path"]).convert("RGB")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: the image cannot be decoded ({reason}); repair or remove it") from None
    if size is not None:
        picture = picture.resize((size, size))
    return np.asarray(picture, dtype=np.uint8)


def prepare_images(
    images: Iterable[LabelledImage],
    *,
    out: Path,
    classes: list[str],
    config: Mapping,
    inputs: Mapping[str, str],
    seed: int = 0,
    progress: Progress = SILENT,
) -> Artifact:
    """Write `images`, all of one shape, into an artefact of kind `image-examples`; labels index `classes`.

    An example's domain is its class.
    """
    index = {name: position for position, name in enumerate(classes)}

    def write(draft: Draft) -> Mapping:
        rows = iter(images)
        first = next(rows, None)
        if first is None:
            raise InputError(f"no images to prepare for {out}: this part of the source is empty; give more")
        shape = first.pixels.shape
        labels: list[int] = []
        with (
            draft.file("images.npy") as file,
            draft.file("examples.parquet") as table_file,
            ArrayWriter(file, shape, np.uint8) as pixels,
            ExamplesTable(table_file, documents=False) as table,
        ):
            for block in chunks(track(_chain(first, rows), "read images", None, progress), 256):
                for row in block:
                    if row.pixels.shape != shape:
                        raise InputError(
                            f"image {row.id} has shape {row.pixels.shape}, the first has {shape}; pass a size"
                        )
                    if row.label not in index:
                        raise InputError(
                            f"image {row.id} has label {row.label!r}; the classes are {', '.join(classes)}"
                        )
                pixels.append(np.stack([row.pixels for row in block]))
                labels += [index[row.label] for row in block]
                table.append([row.id for row in block], [row.label for row in block])
        with draft.file("labels.npy") as file:
            np.save(file, np.asarray(labels, dtype=np.int64))
        return {"num_examples": len(labels), "classes": classes}

    request = {**config, "classes": classes}
    return build(out, kind="image-examples", config=request, seed=seed, inputs=inputs, write=write)


def _chain(first: LabelledImage, rest: Iterator[LabelledImage]) -> Iterator[LabelledImage]:
    yield first
    yield from rest
