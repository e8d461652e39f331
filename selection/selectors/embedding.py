"""Select the examples whose hidden states lie near those of the target."""

import numpy as np

from thresher.errors import InputError
from thresher.selection.evidence import Evidence
from thresher.selection.selectors.ranking import Ranking, by
from thresher.vectors import directions, nearest


def embedding(evidence: Evidence, *, neighbours: int = 8) -> Ranking:
    """Take the largest mean cosine with the `neighbours` nearest target examples first, centred on the pool's mean.

    Raises InputError for fewer than 1 neighbour.
    """
    if neighbours < 1:
        raise InputError(f"neighbours={neighbours} compares with nothing; pass 1 or more")
    rows, targets = evidence["embeddings"], evidence["target_embeddings"]
    centre = np.mean(rows, axis=0)
    pool = directions(rows, centre)
    return by(
        evidence.combined(
            {
                name: nearest(pool, directions(rows_of_target, centre), min(neighbours, len(rows_of_target))).mean(
                    axis=1
                )
                for name, rows_of_target in targets.items()
            }
        )
    )
