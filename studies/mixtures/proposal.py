"""From a table of runs to a result: any method by its name, AutoScale and the baselines among them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.selection.mixture.autoscale.ddo import find_ddo
from thresher.selection.mixture.autoscale.proposal import propose_autoscale
from thresher.selection.mixture.constraints import Constraints
from thresher.selection.mixture.design import next_runs
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.methods import DEFAULT, METHODS
from thresher.selection.mixture.proposal import counted, propose
from thresher.selection.mixture.table import MixtureTable
from thresher.selection.mixture.uncertainty import errors


def propose_from(
    table: MixtureTable,
    goal: Goal,
    constraints: Constraints,
    *,
    method: str | None = None,
    natural: Float[np.ndarray, "m"] | None = None,
    budget: float | None = None,
    fitted_budget: float | None = None,
    test: MixtureTable | None = None,
    num_next: int = 0,
    num_resamples: int = 200,
    seed: int = 0,
    autoscale: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The proposal of `method` (default: the ensemble) as a plain dictionary.

    `test` is scored by the finished fit and seen by nothing else. `num_next` mixtures to run next join as `next_runs`.
    `autoscale`: what `propose_autoscale` takes beyond the common options.
    """
    method = method or DEFAULT
    common = {"goal": goal, "constraints": constraints, "natural": natural, "seed": seed}
    if method == "autoscale":
        extra = {"ddo": None, "fitted_budget": fitted_budget or 1.0, **(autoscale or {})}
        ddo = extra.pop("ddo") or find_ddo(table)
        result = propose_autoscale(table, ddo, budget=budget, num_resamples=num_resamples, **common, **extra).to_json()
        if test is not None or num_next:
            raise InputError("autoscale has neither test rows nor next runs; use another method for them")
        return _with_natural(result, natural)
    proposal = propose(table, method=method, num_resamples=num_resamples, progress=progress, **common)
    result = _with_natural(asdict(proposal), natural)
    law = METHODS[method if method in METHODS else DEFAULT]
    if not law.predicts_losses:
        if test is not None or num_next:
            raise InputError(f"method {method} predicts no losses, so it has neither test errors nor next runs")
        return result
    if test is not None or num_next:
        table, goal = counted(table, goal)
        fitted = law.fit(table.weights, table.losses, seed)
        if test is not None:
            test = test.only(table.targets)
            rows = zip(table.targets, *errors(fitted.predict(test.weights), test.losses), strict=True)
            result["test"] = {
                name: {"rmse": float(e), "r2": float(r), "spearman": float(s), "num_runs": len(test)}
                for name, e, r, s in rows
            }
        if num_next:
            best = np.array([list(result["weights"].values())])
            chosen = next_runs(fitted, table, goal, constraints, num_next, candidates=[best], seed=seed)
            result["next_runs"] = [dict(zip(table.domains, map(float, row), strict=True)) for row in chosen]
    return result


def _with_natural(result: dict[str, Any], natural: Float[np.ndarray, "m"] | None) -> dict[str, Any]:
    """Says so where another mixture stands for the natural one."""
    if natural is None:
        result["warnings"].append("the natural mixture is unknown without token counts: the prior stands for it")
    return result


def natural_of(domains: Sequence[str], tokens: Mapping[str, float] | None):
    """The token-proportional mixture [m], or None where supplies are unknown."""
    from thresher.selection.mixture.baselines import natural

    return None if tokens is None else natural(domains, tokens)
