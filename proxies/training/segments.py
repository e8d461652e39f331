"""A stream as pieces of examples one behind the other: where each ends, and its first units."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int


class Segments(NamedTuple):
    """Examples, or pieces of them, one behind the other; a piece is the tokens from `start` to before `stop`."""

    example: Int[np.ndarray, "s"]
    start: Int[np.ndarray, "s"]
    stop: Int[np.ndarray, "s"]

    @classmethod
    def joined(cls, parts: "Sequence[Segments]") -> "Segments":
        """All of `parts`, one behind the other."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @property
    def ends(self) -> Int[np.ndarray, "s"]:
        """Where each segment ends in the stream of all of them."""
        return np.cumsum(self.stop - self.start)

    def at(self, rows: Any) -> "Segments":
        """The segments at `rows`: a slice, a mask or positions."""
        return Segments(*(column[rows] for column in self))

    def first(self, num_units: int) -> "Segments":
        """The first `num_units` tokens, or images, of the stream; the last segment is cut."""
        ends = self.ends
        count = int(np.searchsorted(ends, num_units, side="left")) + 1
        kept = self.at(slice(0, count))
        stop = kept.stop.copy()
        stop[-1] -= max(int(ends[:count][-1]) - num_units, 0)
        return kept._replace(stop=stop)
