"""A prepared pool or target opened, of whichever kind it is."""

from pathlib import Path

from thresher.artifacts import open_artifact
from thresher.data.examples.base import Examples
from thresher.data.examples.images import ImageExamples
from thresher.data.examples.labelled_text import LabelledTextExamples
from thresher.data.examples.tokens import TokenExamples

KINDS = {
    "text-examples": TokenExamples,
    "labelled-text-examples": LabelledTextExamples,
    "image-examples": ImageExamples,
}


def open_examples(path: Path) -> Examples:
    """A prepared pool or target, of whichever kind it is."""
    artifact = open_artifact(path)
    if artifact.kind not in KINDS:
        open_artifact(path, "text-examples")  # refuses, and says what it is
    return KINDS[artifact.kind](artifact)
