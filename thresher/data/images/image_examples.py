"""Images into examples: from an image folder or a table with an image column, or from arrays."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from thresher.artifacts import Artifact, Draft, build
from thresher.data.images.pixels import BACKGROUND, COMPOSED, Undecodable, pixels_of
from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.sources.source import IdCheck, Source
from thresher.data.sources.values import Unusable, joined_id, name_of
from thresher.data.splits import content_of
from thresher.data.text.columns import names_in
from thresher.data.writers import ArrayWriter, ExamplesTable, chunks, numbering
from thresher.errors import InputError
from thresher.progress import SILENT, Progress, track


class LabelledImage(NamedTuple):
    """An image and its class."""

    id: str
    pixels: UInt8[np.ndarray, "h w c"]
    label: str
    notes: tuple[str, ...] = ()
    """What was done to make these pixels of the file's."""
    group: str = ""
    """Images of one group, if named, stay on one side of every split."""

    @property
    def content(self) -> bytes:
        """What makes two images the same, for `part_of`: the group, else the pixels."""
        return content_of(self.group) if self.group else self.pixels.tobytes()


def read_images(
    source: Source,
    *,
    image: str = "image",
    label: str = "label",
    id: str | Sequence[str] | None = None,
    group: str | None = None,
    size: int | None = None,
    skipped: Skipped | None = None,
) -> Iterator[LabelledImage]:
    """Images in the source's order, three channels, resized to `size` x `size` if that is given.

    Without an id column (or several, joined), files are named by their path, other rows numbered. An image that does
    not decode, a row without a class and an id that occurs twice are handled as `source.bad_rows` says: an InputError
    that names the row, or counted and listed in `skipped` and left out.
    """
    if size is not None and size < 1:
        raise InputError(f"size={size} is no size of an image; pass 1 or more")
    given = (id,) if isinstance(id, str) else tuple(id or ())
    named = source.named_by(id)
    skipped = skipped or Skipped()
    bad = BadRows(source.bad_rows, skipped)
    check = IdCheck(source, bad)
    needed = [image, label, *given, *(() if group is None else (group,))]
    for number, row in enumerate(source.read(list(dict.fromkeys(needed)), skipped)):
        if row.values is None:
            continue
        own = None
        try:
            own = check(joined_id([_name(row, column) for column in named]), row) if named else str(number)
            if own is None:
                continue
            name, its_group = _name(row, label), "" if group is None else _name(row, group)
            if not name.strip():
                raise Unusable("no class", f"column {label!r} holds no class; give it one, or remove the row")
            pixels, notes = pixels_of(row.values[image], size, Path(row.file).parent)
        except Unusable as error:
            bad(error.args[0], f"{row.where}{_of(own)}: {error.args[1]}", file=row.file, row=row.number, id=own or "")
        except Undecodable as error:
            message = f"{row.where}{_of(own)}: the image cannot be decoded ({error}); repair or remove it"
            bad("an image that cannot be decoded", message, file=row.file, row=row.number, id=own or "")
        else:
            yield LabelledImage(own, pixels, name, notes, its_group)


def _name(row: Row, column: str) -> str:
    assert row.values is not None
    return name_of(row.values[column], column)


def _of(id: str | None) -> str:
    return "" if id is None else f" ({id})"


def classes_of(source: Source, *, label: str = "label") -> list[str]:
    """The labels that occur, numbers in numerical order."""
    return sorted(names_in(source, label), key=lambda name: name.zfill(12) if name.isdigit() else name)


def prepare_images(
    images: Iterable[LabelledImage] | Callable[[Skipped], Iterable[LabelledImage]],
    *,
    out: Path,
    classes: list[str],
    config: Mapping,
    inputs: Mapping[str, str],
    numbered: bool | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Artifact:
    """Write `images`, all of one shape, into an artefact of kind `image-examples`; labels index `classes`.

    An example's domain is its class. The facts `notes` count what was done to make pixels of files, and `background` is
    the colour that transparent ones were composed over. Where `images` is a function, what it leaves out is counted in
    the fact `skipped` and listed in `skipped.parquet`. `numbered` is the fact `ids_are_row_numbers`; None: not known.
    """
    index = {name: position for position, name in enumerate(classes)}

    def write(draft: Draft) -> Mapping:
        with draft.file("skipped.parquet") as file, Skipped(file) as skipped:
            facts = _write(draft, iter(images(skipped) if callable(images) else images))
            return {**facts, "skipped": dict(skipped.counts)}

    def _write(draft: Draft, rows: Iterator[LabelledImage]) -> dict[str, Any]:
        first = next(rows, None)
        if first is None:
            raise InputError(f"no images to prepare for {out}: this part of the source is empty; give more")
        shape = first.pixels.shape
        labels: list[int] = []
        notes: Counter[str] = Counter()
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
                notes.update(note for row in block for note in row.notes)
                table.append([row.id for row in block], [row.label for row in block])
        with draft.file("labels.npy") as file:
            np.save(file, np.asarray(labels, dtype=np.int64))
        facts = {"num_examples": len(labels), "classes": classes, "notes": dict(sorted(notes.items()))}
        facts |= numbering(numbered)
        return {**facts, "background": list(BACKGROUND)} if COMPOSED in notes else facts

    request = {**config, "classes": classes}
    return build(out, kind="image-examples", config=request, seed=seed, inputs=inputs, write=write)


def _chain(first: LabelledImage, rest: Iterator[LabelledImage]) -> Iterator[LabelledImage]:
    yield first
    yield from rest
