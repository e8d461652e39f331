"""Prepared examples, read from disk: what training, attribution and evaluation all iterate over.

`base` has what all examples are: ids, domains, lengths, and the windows that a model reads them in. `tokens` has text,
its windows and its choices, `labelled_text` texts and their classes, `images` labelled images. `open_examples` opens an
artefact as the class of its kind. How artefacts are written stands in `thresher.data.text` and `thresher.data.images`.
"""

from thresher.data.examples.base import Examples, Labelled, Windows, add_shares, reads_alike
from thresher.data.examples.images import ImageExamples
from thresher.data.examples.labelled_text import LabelledTextExamples
from thresher.data.examples.opening import open_examples
from thresher.data.examples.tokens import Choices, TokenExamples, WindowExamples, as_scored, is_packed

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
    "as_scored",
    "is_packed",
    "open_examples",
    "reads_alike",
]
