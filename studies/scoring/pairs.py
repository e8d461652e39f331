"""The score of every pool example for every target example, by each scorer: what the LDS judges, and means are of.

Each gives blocks (first row, scores [rows, t]) of the pool in order, so that n x t need never be held.
"""

from collections.abc import Callable, Mapping, Sequence

from thresher.attribution.quality import baselines
from thresher.attribution.scoring.curvature import curvature_scores
from thresher.attribution.scoring.dual import dual_scores
from thresher.attribution.scoring.scores import score_blocks
from thresher.attribution.scoring.similarity import whitened_cosines
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models.spec import task_of
from thresher.scorers import SCORERS, scorer_named
from thresher.studies.scoring.basis import Basis
from thresher.studies.scoring.combined import bm25_pairs, combined_pairs

Pairs = Callable[[Basis, Examples], baselines.Blocks]


def pairs_by(name: str, basis: Basis, target: Examples) -> baselines.Blocks:
    """Scores of every pair by the scorer called `name`, higher = more helpful. Raises InputError as `check_scorers`."""
    check_scorers([name], basis.pool)
    basis.check(target)
    return PAIRS[name](basis, target)


def check_scorers(names: Sequence[str], pool: Examples, *, pairs: bool = True) -> None:
    """Refuse scorers that are unknown or do not apply to this pool; `pairs`: and those of whole targets alone."""
    for name in names:
        if pairs and name in SCORERS and name not in PAIRS:
            raise InputError(
                f"scorer {name!r} goes back through training once a target, not once an example; score whole targets"
            )
        if "texts" in scorer_named(name).needs and task_of(pool) != "language":
            raise InputError(f"scorer {name!r} compares texts, and this pool is images; leave it out")


def _trak(basis: Basis, target: Examples) -> baselines.Blocks:
    stores = basis.pool_features, basis.features("target", target)
    return score_blocks(*stores, damping=basis.settings.damping, q=basis.settings.q)


def _dual(basis: Basis, target: Examples) -> baselines.Blocks:
    yield 0, dual_scores(basis.loaders, basis.pool_seen, basis.seen(target), **basis.reading)


def _curvature(steps: bool) -> Pairs:
    def pairs(basis: Basis, target: Examples) -> baselines.Blocks:
        yield 0, curvature_scores(basis.loaders, basis.pool_seen, basis.seen(target), **basis.curving(steps))

    return pairs


def _grad_cosine(basis: Basis, target: Examples) -> baselines.Blocks:
    return baselines.gradient_cosines(basis.pool_features, basis.features("target", target))


def _trackstar(basis: Basis, target: Examples) -> baselines.Blocks:
    pool = basis.features("pool", basis.pool, basis.scales)
    return whitened_cosines(pool, basis.features("target", target, basis.scales), basis.settings.damping)


def _embedding(basis: Basis, target: Examples) -> baselines.Blocks:
    loaded = (load() for _, load in basis.loaders)
    return baselines.embedding_cosines(loaded, basis.pool, target, device=basis.workspace.device)


def _random(basis: Basis, target: Examples) -> baselines.Blocks:
    return baselines.random_scores(len(basis.pool), len(target), seed=basis.settings.seed)


PAIRS: Mapping[str, Pairs] = {
    "trak": _trak,
    "dual": _dual,
    "direction": _dual,
    "ekfac": _curvature(steps=False),
    "ekfac-cg": _curvature(steps=True),
    "ekfac+bm25": combined_pairs,
    "trackstar": _trackstar,
    "grad-cosine": _grad_cosine,
    "embedding": _embedding,
    "bm25": bm25_pairs,
    "random": _random,
}
