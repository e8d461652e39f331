"""The verb that reads a source: text or images in any format become a prepared pool or target."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from thresher.api.handles import Examples
from thresher.artifacts import Artifact
from thresher.choices import TASKS
from thresher.data.images.image_examples import LabelledImage, prepare_images
from thresher.data.preparing import (
    PicturePart,
    TextPart,
    check_settings,
    check_text_settings,
    learn_tokenizer,
    overlap_between,
    prepare_documents,
    prepare_labelled_documents,
    prepare_pictures,
)
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.errors import InputError, unknown
from thresher.idle import PREPARING, VISION, check_task, given_to
from thresher.progress import SILENT, Progress
from thresher.rules import ruled

NOT_OF_ARRAYS = ("part", "group", "size", "limit", "split", "subset", "image", "label", "id")
"""Arguments of rows and files, which images that are arrays have none of."""


@ruled
def prepare(
    data: str | Path | Sequence[str | Path] | Sequence[tuple[str, np.ndarray, str]],
    *,
    out: str | Path,
    task: str = "language",
    split: str | None = None,
    subset: str | None = None,
    text: str = "text",
    prompt: str | None = None,
    continuation: str | None = None,
    choices: str | None = None,
    gold: str | None = None,
    classify: str | None = None,
    question: str = "\nLabel:",
    domain: str | None = None,
    id: str | Sequence[str] | None = None,
    group: str | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int = 4096,
    sequence_length: int = 128,
    image: str = "image",
    label: str = "label",
    size: int | None = None,
    classes: Sequence[str] = (),
    part: tuple[float, float] = (0.0, 1.0),
    decontaminate: Mapping[str, str | Path] | None = None,
    ngram: int = 13,
    bad_rows: str = "refuse",
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Examples:
    """A source as a prepared pool or target with stable ids; the options are those of `thresher prepare`.

    data       files, globs, a folder, the name of a data set on the hub; for images also a list of (id, pixels, label)
    task       language, vision, or text-classification (`text` and its class in `label`)
    tokenizer  an artefact, a tokenizer.json or a checkpoint; None: learnt from this data and kept beside `out`
    classes    the labels, in order; none: those that occur. Give a target the classes of its pool
    part       the examples whose content hashes into this interval: disjoint parts for selection and validation
    decontaminate  name -> data of targets: documents that share `ngram` words in a row with one are left out

    Raises InputError, naming the row, for data that cannot be used.
    """
    asked = given_to(prepare, locals())
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    check_settings(part, bad_rows, limit)
    ids = (id,) if isinstance(id, str) else tuple(id or ())
    place, shared = Path(out), {"out": Path(out), "progress": progress}
    given = [data] if isinstance(data, str | Path) else list(data)
    if not all(isinstance(one, str | Path) for one in given):
        check_task(asked, VISION)
        if idle := [name for name in asked if name in NOT_OF_ARRAYS]:
            raise InputError(f"images that are arrays are prepared as they are and all of them; leave out {idle[0]}")
        return Examples(_from_memory(given, list(classes), seed=seed, **shared))
    check_task(asked, task)
    PREPARING.check(asked)
    source = Source(tuple(map(str, given)), split, subset, bad_rows)
    if task == "vision":
        columns = {"image": image, "label": label, "id": ids or None, "group": group, "size": size}
        pictures = PicturePart(source=source, part=part, seed=seed, limit=limit, **columns)
        return Examples(prepare_pictures(pictures, classes=classes, **shared))
    check_text_settings(sequence_length=sequence_length, tokenizer=tokenizer, vocab_size=vocab_size)
    if choices is not None and continuation is not None:
        raise InputError("the continuation is the right one of choices; leave out continuation")
    if (prompt is None) != (continuation is None and choices is None):
        raise InputError("prompt and continuation belong together; give both, or neither")
    is_labelled = task == "text-classification"
    text_columns = TextColumns(
        text=continuation or text,
        prompt=prompt,
        domain=label if is_labelled else domain,
        id=ids or None,
        choices=choices,
        gold=gold,
        classify=classify,
        classes=() if is_labelled else tuple(classes),
        question=question,
        group=group,
    ).of_source(source)
    overlap = None
    if decontaminate:
        beside = place.with_name(f"{place.name}-overlap")
        overlap = overlap_between(source, text_columns, decontaminate, ngram=ngram, out=beside, progress=progress)
    if tokenizer is None:
        beside, whole = place.with_name(f"{place.name}-tokenizer"), TextPart(source=source, columns=text_columns)
        tokenizer = learn_tokenizer(whole, vocab_size=vocab_size, out=beside).path
    documents = TextPart(source=source, columns=text_columns, part=part, seed=seed, overlap=overlap)
    options = {"tokenizer": tokenizer, "sequence_length": sequence_length, "limit": limit, **shared}
    if is_labelled:
        return Examples(prepare_labelled_documents(documents, classes=classes, **options))
    return Examples(prepare_documents(documents, **options))


def _from_memory(rows: list[Any], classes: list[str], *, seed: int, out: Path, progress: Progress) -> Artifact:
    """Images that are arrays: uint8 [h, w, c], each with an id and a label."""
    images = [LabelledImage(str(name), pixels, str(label)) for name, pixels, label in rows]
    digest = sha256(b"".join(one.content + f"{one.id} {one.label} {one.pixels.shape}".encode() for one in images))
    found = sorted({one.label for one in images}, key=lambda name: name.zfill(12) if name.isdigit() else name)
    inputs = {"images": digest.hexdigest()}
    options = {"out": out, "seed": seed, "progress": progress}
    return prepare_images(images, classes=classes or found, config={"from": "memory"}, inputs=inputs, **options)
