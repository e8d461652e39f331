"""The one check wherever a model meets data: task, tokenizer, vocabulary, length, classes, size and channels."""

from collections.abc import Iterable
from typing import Any

from thresher.data.examples import Examples, ImageExamples, TokenExamples, reads_alike
from thresher.data.examples.labelled_text import LabelledTextExamples
from thresher.errors import InputError
from thresher.proxies.models.checkpoints.architecture import CLASSIFIER, LANGUAGE, VISION

Spec = dict[str, Any]
"""The specification of a model: its `name`, `source`, `task`, sizes, and whatever its source needs to build it."""


def task_of(examples: Examples) -> str:
    """`language`, `vision`, or `text-classification` for texts with the class of each."""
    if isinstance(examples, LabelledTextExamples):
        return CLASSIFIER
    return LANGUAGE if isinstance(examples, TokenExamples) else VISION


def sizes_of(examples: Examples) -> Spec:
    """What a model of these examples must be able to read: vocabulary, length and tokenizer; classes; image size."""
    if isinstance(examples, TokenExamples):
        sizes = {"vocab_size": examples.vocab_size, "sequence_length": examples.sequence_length}
        sizes |= {"tokenizer": examples.tokenizer_hash} if examples.tokenizer_hash else {}
        if isinstance(examples, LabelledTextExamples):
            sizes |= {"num_classes": len(examples.classes), "classes": list(examples.classes)}
        return sizes
    assert isinstance(examples, ImageExamples)
    classes = list(examples.classes)
    return {"num_classes": len(classes), "classes": classes, "image_shape": list(examples.image_shape)}


def check_all(spec: Spec, several: Iterable[Examples]) -> None:
    """Raise InputError, as `check_fits` does, if the model of `spec` cannot read any of several examples."""
    for examples in several:
        check_fits(spec, examples)


def check_fits(spec: Spec, examples: Examples) -> None:
    """Raise InputError for examples that the model of `spec` cannot read, or would read as something else."""
    path, name, there = examples.artifact.path, spec["name"], sizes_of(examples)
    if spec["task"] != task_of(examples):
        raise InputError(
            f"model {name!r} is for {spec['task']}, but {path} is for {task_of(examples)}; "
            "give a model and examples of one task"
        )
    if None not in (spec.get("tokenizer"), there.get("tokenizer")) and spec["tokenizer"] != there["tokenizer"]:
        raise InputError(
            f"{path} was prepared with another tokenizer than model {name!r} reads; "
            "prepare it with --tokenizer set to the model's own"
        )
    for key in ("vocab_size", "sequence_length"):
        if key in there and there[key] > spec[key]:
            action = (
                f"--sequence-length {spec[key]}" if key == "sequence_length" else "--tokenizer set to the model's own"
            )
            raise InputError(
                f"{path} has {key} {there[key]}, but model {name!r} was made for at most {spec[key]}; prepare it with "
                f"{action}"
            )
    if "image_shape" in there:
        _check_images(spec, there, path, name)
    if "classes" in there:
        _check_classes(spec, there, path, name)


def check_alike(one: Examples, other: Examples) -> None:
    """Raise InputError for examples that no model reads alike: of another task, tokenizer, size or other classes."""
    ours, theirs = sizes_of(one), sizes_of(other)
    for key in ("tokenizer", "classes", "image_shape"):
        if None not in (ours.get(key), theirs.get(key)) and not reads_alike(key, ours[key], theirs[key]):
            raise InputError(
                f"{other.artifact.path} has another {key.replace('_', ' ')} than {one.artifact.path}; make both alike"
            )
    if task_of(one) != task_of(other):
        raise InputError(
            f"{one.artifact.path} is for {task_of(one)}, {other.artifact.path} for {task_of(other)}; give examples of "
            "one task"
        )


def _check_images(spec: Spec, there: Spec, path: Any, name: str) -> None:
    channels, height, width = there["image_shape"]
    its_channels = spec["image_shape"][0] if "image_shape" in spec else spec.get("num_channels", channels)
    if channels != its_channels:
        raise InputError(
            f"{path} has images of {channels} channels, but model {name!r} was made for {its_channels}; prepare images "
            f"of {its_channels} channels, or give a model of {channels}"
        )
    its_height, its_width = spec["image_shape"][1:] if "image_shape" in spec else (height, width)
    if (height, width) != (its_height, its_width):
        action = f"prepare it with --size {its_height}" if its_height == its_width else "resize the images to that"
        raise InputError(
            f"{path} has images of {height} x {width}, but model {name!r} was made for {its_height} x {its_width}; "
            f"{action}"
        )


def _check_classes(spec: Spec, there: Spec, path: Any, name: str) -> None:
    if there["num_classes"] > spec["num_classes"]:
        raise InputError(
            f"{path} has {there['num_classes']} classes, but model {name!r} was made for at most "
            f"{spec['num_classes']}; prepare the examples as the model's own pool was"
        )
    its_classes, classes = spec.get("classes"), there["classes"]
    # The first few of its classes are the same classes.
    if its_classes is not None and classes != its_classes[: len(classes)]:
        first = next(
            (pair for pair in zip(classes, its_classes, strict=False) if pair[0] != pair[1]),
            (len(classes), len(its_classes)),
        )
        raise InputError(
            f"{path} has other classes, or another order of them, than model {name!r} (the first that differs: "
            f"{first[0]!r}, its {first[1]!r}); prepare it with --classes {' '.join(its_classes[:12])}"
            f"{' ..' if len(its_classes) > 12 else ''}"
        )
