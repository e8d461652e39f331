"""traker's interface over this project's gradients: `from thresher.attribution import TRAKer` is all that changes."""

from thresher.attribution.traker.interface import TRAKer

__all__ = ["TRAKer"]
