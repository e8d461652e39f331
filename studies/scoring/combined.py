"""EK-FAC and BM25 as one scorer: what gradients say of an example, and which rare words it shares with the target.

    score(z, t) = ekfac(z, t) / spread of ekfac(., t) + bm25(z, t) / spread of bm25(., t)

each about its mean over the pool. The two err in different places: docs/scorers.md has the evidence.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.quality.baselines import Blocks, bm25_scores
from thresher.attribution.scoring.curvature import curvature_scores, score_by_curvature
from thresher.attribution.scoring.score_table import write_scores
from thresher.data.examples import Examples, TokenExamples
from thresher.scores import open_scores
from thresher.studies.scoring.basis import Basis


def bm25_pairs(basis: Basis, target: Examples) -> Blocks:
    """BM25 of every pool text for every target text, in one block; `check_scorers` refuses what holds no texts."""
    texts = [cast(TokenExamples, examples).texts(np.arange(len(examples))) for examples in (basis.pool, target)]
    return bm25_scores(*texts)


def combined_pairs(basis: Basis, target: Examples) -> Blocks:
    """Scores of every pair, in one block."""
    curving = curvature_scores(basis.loaders, basis.pool_seen, basis.seen(target), **basis.curving(steps=False))
    words = np.concatenate([block for _, block in bm25_pairs(basis, target)])
    yield 0, in_units_of_spread(curving) + in_units_of_spread(words)


def combined_columns(basis: Basis, targets: Mapping[str, Examples], out: Path) -> Artifact:
    """The scores artefact at `out`; that of EK-FAC alone is kept with the evidence."""
    hashes = [basis.inputs, {name: examples.content_hash for name, examples in targets.items()}]
    curved = score_by_curvature(
        basis.loaders,
        basis.pool_seen,
        {name: basis.seen(examples) for name, examples in targets.items()},
        out=basis.workspace.place("scores-ekfac", *hashes, asdict(basis.settings)),
        **basis.curving(steps=False),
    )

    def write(draft: Draft) -> dict:
        curving, columns = open_scores(curved.path).of(None), {}
        for name, examples in targets.items():
            words = np.concatenate([block.mean(axis=1) for _, block in bm25_pairs(basis, examples)])
            columns[name] = in_units_of_spread(curving[name]) + in_units_of_spread(words)
        return {"scorer": "ekfac+bm25"} | write_scores(draft, basis.pool, columns, basis.num_models, targets)

    inputs = {"ekfac": curved.content_hash, "pool": basis.pool.content_hash}
    inputs |= {f"target {name}": examples.content_hash for name, examples in targets.items()}
    config = {"scorer": "ekfac+bm25", "targets": list(targets)}
    return build(out, kind="scores", config=config, seed=basis.settings.seed, inputs=inputs, write=write)


def in_units_of_spread(scores: Float[np.ndarray, "n *t"]) -> Float[np.ndarray, "n *t"]:
    """Scores about their mean over the pool, divided by their standard deviation; those that are all alike are 0."""
    spread = scores.std(axis=0)
    centred = scores - scores.mean(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred, dtype=np.float64), where=spread > 0)
