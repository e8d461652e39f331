"""Thresher: find the training data that matters, at proxy cost."""

from thresher.api.attribute import attribute
from thresher.errors import InputError
from thresher.artifacts import open_artifact
def open(p):
    from thresher.api.result import Attribution
    return Attribution(open_artifact(p))

__version__ = "0.1.0"
