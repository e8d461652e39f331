"""What a report shows of the selection: scores, shares of domains, the best and the worst examples."""

import numpy as np

from thresher.data.examples import Examples, TokenExamples, WindowExamples
from thresher.data.examples.scored import scored_texts
from thresher.scores import open_scores
from thresher.selection.selection import open_selection
from thresher.studies.loop import StudyResult
from thresher.studies.report.content import Choice, Example, histogram_of
from thresher.studies.stages import looks_at_models
from thresher.studies.study import Study

NUM_SHOWN = 5
"""Examples kept, and as many dropped."""


def choice_of(study: Study, result: StudyResult) -> Choice:
    """How many were kept, from which domains, by which scores; the best and the worst of the pool."""
    artifact = result.selections[study.select.method][0]
    selection, pool = open_selection(artifact.path), result.prepared.pool
    scores = np.full(len(pool), np.nan)
    for table in (selection.kept, selection.dropped):
        scores[table["position"].to_numpy()] = table["score"].to_numpy()
    order = np.fromiter(dict.fromkeys(np.concatenate([selection.positions, selection.dropped["position"]])), np.int64)
    there = np.flatnonzero(np.isfinite(scores))  # what an earlier stage left out may have no score
    order = order[np.isin(order, there)]
    shares = artifact.facts["domain_shares"]
    return Choice(
        method=study.select.method,
        num_pool=len(pool),
        num_kept=artifact.facts["num_kept"],
        share=artifact.facts.get("share_of_tokens"),
        seed=study.seed,
        domain_shares=shares if len(shares) > 1 else {},
        top=_examples(result, order[:NUM_SHOWN], scores),
        bottom=_examples(result, order[: -NUM_SHOWN - 1 : -1], scores),
        by_models=looks_at_models(study),
        histogram=histogram_of(scores[there], np.flatnonzero(np.isin(there, selection.positions))),
    )


def _examples(result: StudyResult, rows: np.ndarray, scores: np.ndarray) -> list[Example]:
    pool, by_target = result.prepared.pool, open_scores(result.scores.path).by_target
    return [
        Example(
            id=pool.ids[int(row)],
            text=text,
            score=float(scores[row]),
            domain=str(pool.domains[row]),
            image=pool.picture(int(row)),
            targets={name: float(values[row]) for name, values in by_target.items()},
        )
        for row, text in zip(rows, _texts(pool, rows), strict=True)
    ]


def _texts(pool: Examples, rows: np.ndarray) -> list[str]:
    """The documents as the source has them, whole; what is said of images."""
    if isinstance(pool, WindowExamples) or not isinstance(pool, TokenExamples):
        return [pool.preview(int(row)) for row in rows]
    return ["".join(parts) for parts in scored_texts(pool, rows)]
