"""Examples whose hidden states lie near those of the target."""

import numpy as np

from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ranking import Ranking, by
from thresher.vectors import directions, nearest


def embedding(evidence: Evidence, *, neighbours: int = 8) -> Ranking:
    """The largest mean cosine with the `neighbours` nearest target examples first, around the pool's mean (FAISS)."""
    if neighbours < 1:
        raise InputError(f"neighbours={neighbours} compares with nobody; pass 1 or more")
    rows, targets = evidence["embeddings"], evidence["target_embeddings"]
    centre = np.mean(rows, axis=0)
    pool = directions(rows, centre)
    return by(
        evidence.combined(
            {
                name: nearest(pool, directions(own, centre), min(neighbours, len(own))).mean(axis=1)
                for name, own in targets.items()
            }
        )
    )
