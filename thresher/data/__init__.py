"""Pools and targets: any source in, prepared examples with stable ids out.

`preparing` has the way from a source to an artefact, `sources` reads rows, `text` and `images` turn them into
artefacts, and `examples` opens these again for training, attribution and evaluation.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.data.batches import balanced_batches
    from thresher.data.examples import Examples, ImageExamples, TokenExamples, open_examples
    from thresher.data.images.image_examples import LabelledImage, prepare_images
    from thresher.data.sources.source import Source
    from thresher.data.text.columns import TextColumns
    from thresher.data.text.documents import read_documents
    from thresher.data.text.encoding import BATCH_CHARACTERS
    from thresher.data.text.text_examples import prepare_text
    from thresher.data.text.tokenizer import open_tokenizer, train_tokenizer
    from thresher.data.token_files import save_rows

__all__ = [
    "BATCH_CHARACTERS",
    "Examples",
    "ImageExamples",
    "LabelledImage",
    "Source",
    "TextColumns",
    "TokenExamples",
    "balanced_batches",
    "open_examples",
    "open_tokenizer",
    "prepare_images",
    "prepare_text",
    "read_documents",
    "save_rows",
    "train_tokenizer",
]

_HOMES = {
    "Examples": "thresher.data.examples",
    "ImageExamples": "thresher.data.examples",
    "TokenExamples": "thresher.data.examples",
    "open_examples": "thresher.data.examples",
    "balanced_batches": "thresher.data.batches",
    "Source": "thresher.data.sources.source",
    "TextColumns": "thresher.data.text.columns",
    "read_documents": "thresher.data.text.documents",
    "BATCH_CHARACTERS": "thresher.data.text.encoding",
    "prepare_text": "thresher.data.text.text_examples",
    "open_tokenizer": "thresher.data.text.tokenizer",
    "train_tokenizer": "thresher.data.text.tokenizer",
    "LabelledImage": "thresher.data.images.image_examples",
    "prepare_images": "thresher.data.images.image_examples",
    "save_rows": "thresher.data.token_files",
}

__getattr__ = lazy(__name__, _HOMES)
