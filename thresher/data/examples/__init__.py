"""Prepared examples, read from disk: what training, attribution and evaluation all iterate over."""

from thresher.data.examples.base import Examples, Labelled, Windows, add_shares, reads_alike
from thresher.data.examples.images import ImageExamples
from thresher.data.examples.opening import open_examples
from thresher.data.examples.tokens import Choices, LabelledTextExamples, TokenExamples, WindowExamples

__all__ = [
    "Choices",
    "Examples",
    "ImageExamples",
    "Labelled",
    "LabelledTextExamples",
    "TokenExamples",
    "WindowExamples",
    "Windows",
    "add_shares",
    "open_examples",
    "reads_alike",
]
