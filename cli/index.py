"""`thresher index`: FAISS over the pool's features."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thresher.choices import Q
from thresher.cli.command import Command, made
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Index(Command):
    """A FAISS index over a pool's features; its inner products are TRAK scores, its recall is measured."""

    usage = "thresher index --features pool-features --out index"

    features: Path
    """The pool's features, from `thresher featurize`."""
    out: Path
    damping: float | Literal["loo"] | None = None
    """A multiple of the kernel's mean diagonal (None: 1), or loo: chosen on the pool by leave-one-out prediction."""
    q: Q | None = None
    """What scores are multiplied by: sqrt (of 1 - p, the mean over checkpoints), mean (1 - p itself: TRAK's),
    none (1); None: sqrt, or mean with another package's convention."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Build the index."""
        from thresher.api.searching import build_index

        options = {"damping": self.damping, "q": self.q, "progress": progress}
        return made(build_index(self.features, out=self.out, **options).artifact)


COMMAND = Index
