"""The `TRAKer` class of the package traker, computed with the gradients, projections and kernels of this project.

`from thresher.attribution import TRAKer` is the one line of a traker script that changes.
"""

from thresher.attribution.traker.interface import TRAKer

__all__ = ["TRAKer"]
