"""The verb that reads a source: text or images in any format become a prepared pool or target."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from thresher.api.handles import Examples
from thresher.artifacts import Artifact
from thresher.data.images.image_examples import LabelledImage, classes_of, prepare_images, read_images
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.sources.source import Source
from thresher.data.splits import check_part, part_of
from thresher.data.text.documents import Document, TextColumns, read_documents
from thresher.data.text.labelled_text import prepare_labelled
from thresher.data.text.text_examples import check_shape, prepare_text
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.studies.preparation import learn_tokenizer

TASKS = ("language", "text-classification", "vision")


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

    Raises InputError, naming the row, for data that cannot be used.
    """
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; pass one of: {', '.join(TASKS)}")
    check_part(*part)
    BadRows(bad_rows)
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps nothing; pass 1 or more, or none")
    ids = (id,) if isinstance(id, str) else tuple(id or ())
    shared: dict[str, Any] = {"out": Path(out), "seed": seed, "progress": progress}
    if not _names_files(data):
        return Examples(_from_memory(list(data), list(classes), shared))  # type: ignore[arg-type]
    paths = (data,) if isinstance(data, str | Path) else tuple(data)
    source = Source(tuple(map(str, paths)), split, subset, bad_rows)
    if task == "vision":
        columns = {"image": image, "label": label, "id": ids or None, "size": size}
        images = islice(part_of(read_images(source, **columns), *part, seed=seed), limit)
        config = {**columns, "part": list(part), "limit": limit}
        inputs = {"source": source.fingerprint()}
        labels = list(classes) or classes_of(source, label=label)
        left_out = source.left_out()
        return Examples(
            prepare_images(images, classes=labels, config=config, inputs=inputs, left_out=left_out, **shared)
        )
    check_shape(sequence_length, limit)
    if (prompt is None) != (continuation is None and choices is None):
        raise InputError("prompt and continuation belong together; give both, or neither")
    text_columns = TextColumns(
        text=continuation or text,
        prompt=prompt,
        domain=label if task == "text-classification" else domain,
        id=ids or None,
        choices=choices,
        gold=gold,
        classify=classify,
        classes=() if task == "text-classification" else tuple(classes),
        question=question,
        group=group,
    ).with_classes(source)
    if tokenizer is None:
        place = Path(out).with_name(f"{Path(out).name}-tokenizer")
        tokenizer = learn_tokenizer(source, text_columns, vocab_size=vocab_size, out=place).path

    def documents(skipped: Skipped) -> Iterable[Document]:
        return part_of(read_documents(source, text_columns, skipped, whole_rows=True), *part, seed=seed)

    config = {"columns": asdict(text_columns), "part": list(part), "bad_rows": bad_rows}
    shared |= {"tokenizer": tokenizer, "sequence_length": sequence_length, "bad_rows": bad_rows, "limit": limit}
    shared |= {"config": config, "inputs": {"source": source.fingerprint()}}
    if task == "text-classification":
        return Examples(prepare_labelled(documents, classes=list(classes) or classes_of(source, label=label), **shared))
    kinds = {"pack": text_columns.packed, "choices": text_columns.has_choices, "classes": classify is not None}
    return Examples(prepare_text(documents, **kinds, **shared))


def _names_files(data: Any) -> bool:
    if isinstance(data, str | Path):
        return True
    return isinstance(data, list | tuple) and all(isinstance(one, str | Path) for one in data)


def _from_memory(rows: list[tuple[str, Any, str]], classes: list[str], shared: dict[str, Any]) -> Artifact:
    """Images that are arrays: uint8 [h, w, c], each with an id and a label."""
    images = [LabelledImage(str(name), pixels, str(label)) for name, pixels, label in rows]
    digest = sha256(b"".join(one.content + f"{one.id} {one.label} {one.pixels.shape}".encode() for one in images))
    labels = classes or sorted(
        {one.label for one in images}, key=lambda name: name.zfill(12) if name.isdigit() else name
    )
    return prepare_images(
        images, classes=labels, config={"from": "memory"}, inputs={"images": digest.hexdigest()}, **shared
    )
