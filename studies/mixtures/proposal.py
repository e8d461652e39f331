"""From a table of runs to a proposal by any method, AutoScale and the baselines among them, and its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.data.examples import Examples, open_examples
from thresher.errors import InputError
from thresher.places import write_json
from thresher.progress import SILENT, Progress
from thresher.scores import Scores, check_same_rows, open_scores
from thresher.selection.mixture.autoscale.ddo import find_ddo
from thresher.selection.mixture.autoscale.proposal import propose_autoscale
from thresher.selection.mixture.baselines import natural as natural_mixture
from thresher.selection.mixture.constraints import Constraints
from thresher.selection.mixture.design import next_runs
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.laws.law import Law
from thresher.selection.mixture.methods import DEFAULT, METHODS
from thresher.selection.mixture.proposal import counted, propose
from thresher.selection.mixture.table import MixtureTable
from thresher.selection.mixture.uncertainty import errors
from thresher.studies.report.mixture_page import write_mixture_report


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

    The finished fit is scored on `test`, which nothing else sees. With `num_next`, the mixtures to run next join the
    result as `next_runs`. `autoscale` holds what `propose_autoscale` takes beyond the common options; it extrapolates
    to `budget` from `fitted_budget`, the tokens of the DDO's base run. Raises InputError for an unknown method, for
    `test` or `num_next` with a method that predicts no losses, and for one of AutoScale's two budgets without the other
    or with another method.
    """
    method = method or DEFAULT
    common = {"goal": goal, "constraints": constraints, "natural": natural, "seed": seed}
    if method == "autoscale":
        if test is not None or num_next:
            raise InputError("autoscale has neither test rows nor next runs; use another method for them")
        extra = {"ddo": None, "fitted_budget": fitted_budget, **(autoscale or {})}
        extra["fitted_budget"] = _fitted_budget(extra["fitted_budget"], budget)
        ddo = extra.pop("ddo") or find_ddo(table)
        result = propose_autoscale(table, ddo, budget=budget, num_resamples=num_resamples, **common, **extra).to_json()
        return _with_natural(result, natural)
    if fitted_budget is not None:
        raise InputError(f"fitted budget {fitted_budget:g} is autoscale's alone; leave it out, or use that method")
    proposal = propose(table, method=method, num_resamples=num_resamples, progress=progress, **common)
    result = _with_natural(proposal.to_json(), natural)
    law = METHODS[method if method in METHODS else DEFAULT]
    if test is None and not num_next:
        return result
    if not law.predicts_losses:
        raise InputError(f"method {method} predicts no losses, so it has neither test errors nor next runs")
    table, goal = counted(table, goal)
    fitted = law.fit(table.weights, table.losses, seed)
    if test is not None:
        result["test"] = _test_errors(fitted, test.only(table.targets))
    if num_next:
        best = np.array([list(result["weights"].values())])
        base = constraints.prior if natural is None else natural
        aim = goal.counted_from(fitted.predict(base[None]))
        chosen = next_runs(fitted, table, aim, constraints, num_next, candidates=[best], seed=seed)
        result["next_runs"] = [dict(zip(table.domains, map(float, row), strict=True)) for row in chosen]
    return result


def _fitted_budget(fitted: float | None, budget: float | None) -> float:
    """The tokens of the DDO's base run: 1 where nothing is extrapolated, so that their unit does not matter."""
    if fitted is None and budget is not None:
        raise InputError(
            f"budget {budget:g} extrapolates from the fitted budget, the tokens of the base run; give fitted_budget too"
        )
    return 1.0 if fitted is None else fitted


def natural_of(domains: Sequence[str], tokens: Mapping[str, float] | None) -> Float[np.ndarray, "m"] | None:
    """The token-proportional mixture, or None where the supplies are unknown."""
    return None if tokens is None else natural_mixture(domains, tokens)


def open_scored(pool: Path, scores: Path) -> tuple[Examples, Scores]:
    """A pool and its scores. Raises InputError for scores of other examples."""
    examples, table = open_examples(pool), open_scores(scores)
    if list(table.ids) != list(examples.ids):
        raise InputError(f"{scores} does not score {pool}; give the pool that was scored")
    check_same_rows(str(scores), table.numbered_by, str(pool), examples.numbered_by)
    return examples, table


def write_proposal(result: Mapping[str, Any], out: Path, *, command: str) -> dict[str, Any]:
    """Write `mixture.json` and `report.html` into the folder `out`.

    `command` is the line that replays the proposal. Returns the result with that line and the path of the page.
    """
    result, page = {**result, "command": command}, out / "report.html"
    write_json({**result, "report": page.name}, out / "mixture.json")
    write_mixture_report(result, page, command=command)
    return {**result, "report": str(page.resolve())}


def _test_errors(law: Law, test: MixtureTable) -> dict[str, dict[str, float]]:
    rows = zip(test.targets, *errors(law.predict(test.weights), test.losses), strict=True)
    return {
        name: {"rmse": float(e), "r2": float(r), "spearman": float(s), "num_runs": len(test)} for name, e, r, s in rows
    }


def _with_natural(result: dict[str, Any], natural: Float[np.ndarray, "m"] | None) -> dict[str, Any]:
    """Add a warning where the prior stands for the natural mixture."""
    if natural is None:
        result["warnings"].append("the natural mixture is unknown without token counts: the prior stands for it")
    return result
