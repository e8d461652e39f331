"""Run a spec on evidence: filters leave examples out, rankings keep a budget of the best, the last stage decides."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.selection.budget import Budget, take
from thresher.selection.evidence import Evidence
from thresher.selection.methods import BUDGET, METHODS, SAMPLING, Method, stages_of
from thresher.selection.ranking import Filtered, Ranking
from thresher.selection.sampling import repeated, tempered
from thresher.selection.selection import Selected
from thresher.selection.spec import Stage


@dataclass
class _State:
    """Where a selection stands between stages."""

    alive: Int[np.ndarray, "m"]
    """Still there, in the order of the last ranking; may repeat after the last stage."""
    left_out: list[tuple[str, Int[np.ndarray, "d"]]]
    """(why, positions) in the order in which they were left out, each from nearest to being taken."""
    scores: Float[np.ndarray, "n"]


def select_by(
    spec: str,
    evidence: Evidence,
    *,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
) -> Selected:
    """What `spec` keeps of the pool. The budget of its last stage stands in the spec, or is given here.

    A spec that ends in a filter takes no budget and keeps all that is left. Raises InputError, before anything is
    computed, for a spec that cannot be read and evidence that is missing; then for a budget beyond what is left.
    """
    stages = stages_of(spec)
    budgets = _budgets(spec, stages, {"fraction": fraction, "count": count, "tokens": tokens})
    for stage, budget in zip(stages, budgets, strict=True):
        who = f"method {stage.name!r}"
        for need in METHODS[stage.name].needs:
            evidence.require(need, who)
        if budget is not None and budget.tokens is not None:
            evidence.require("lengths", f"a budget in tokens ({budget.tokens})")
    num_pool = len(evidence)
    state = _State(np.arange(num_pool), [], np.full(num_pool, np.nan))
    report = []
    for stage, budget in zip(stages, budgets, strict=True):
        start, before = time.perf_counter(), len(state.alive)
        if budget is None:
            _filter(stage, state, evidence)
        else:
            _rank(stage, budget, state, evidence)
        seconds = round(time.perf_counter() - start, 3)
        report.append({"stage": str(stage), "from": before, "kept": len(state.alive), "seconds": seconds})
    dropped = [np.empty(0, dtype=np.int64), *(positions for _, positions in reversed(state.left_out))]
    reasons = [why for why, positions in reversed(state.left_out) for _ in positions]
    return Selected(state.scores, state.alive, np.concatenate(dropped), reasons, report)


def _budgets(spec: str, stages: Sequence[Stage], given: dict[str, Any]) -> list[Budget | None]:
    """The budget of each stage; None for filters."""
    outside = {name: value for name, value in given.items() if value is not None}
    budgets: list[Budget | None] = []
    for number, stage in enumerate(stages):
        inside = {name: value for name, value in stage.values.items() if name in BUDGET}
        size = {name for name in inside if name != "per_domain"}
        is_last = number == len(stages) - 1
        if METHODS[stage.name].kind == "filter":
            if is_last and outside:
                name, value = next(iter(outside.items()))
                raise InputError(
                    f"method {spec!r} ends in {stage.name}, which drops and does not rank, so {name}={value} cannot be "
                    f"met; leave it out, or add a ranking: {spec} | random"
                )
            budgets.append(None)
        elif is_last and size and outside:
            name, value = next(iter(outside.items()))
            raise InputError(f"{name}={value} and the {size.pop()} in {spec!r} are two budgets; give one of them")
        elif not is_last and stage.values.get("repeats", 1) > 1:
            raise InputError(f"{stage.name} in {spec!r} hands on an example more than once; repeat in the last stage")
        elif not size and not is_last:
            raise InputError(
                f"{stage.name} in {spec!r} ranks and has no budget; say how much it hands on: {stage.name}:0.5"
            )
        else:
            budgets.append(Budget(**inside, **(outside if is_last else {})))
    return budgets


def _filter(stage: Stage, state: _State, evidence: Evidence) -> None:
    found: Filtered = METHODS[stage.name].run(evidence, state.alive, **stage.values)
    keeps = found.keep[state.alive]
    if not keeps.any():
        raise InputError(f"{stage} leaves nothing of {len(keeps)} examples; loosen it")
    state.left_out.append((str(stage), state.alive[~keeps]))
    state.alive, state.scores = state.alive[keeps], found.scores


def _rank(stage: Stage, budget: Budget, state: _State, evidence: Evidence) -> None:
    method = METHODS[stage.name]
    costs = None if budget.tokens is None else np.asarray(evidence["lengths"])
    total = budget.total(len(evidence), None if costs is None else int(costs.sum()))

    def cut(order: Int[np.ndarray, "k"]):
        return take(order, total, costs, evidence.domains, budget.per_domain)

    ranking = _ranking(stage, method, state, evidence, lambda order: cut(order).is_full, total, costs)
    keys = ranking.keys
    sampling = {name: stage.values.get(name, item.default) for name, item in SAMPLING.items()}
    if method.samples:
        keys = tempered(keys, sampling["temperature"], evidence)
    order = Ranking(ranking.scores, keys).order(state.alive)
    copies = repeated(order, keys, sampling["repeats"], sampling["repeat_cost"]) if method.samples else order
    taken = cut(copies)
    _check_met(stage, budget, total, taken, copies, costs, len(evidence))
    is_kept = np.isin(state.alive, taken.kept)
    over_cap = order[np.isin(order, taken.over_cap) & ~np.isin(order, taken.kept)]
    rest = order[~np.isin(order, taken.kept) & ~np.isin(order, over_cap)]
    not_to_be_taken = state.alive[~is_kept & ~np.isin(state.alive, order)]
    state.left_out += [
        (f"{stage.name}: not to be taken", not_to_be_taken),
        (f"{stage.name}: its domain is full", over_cap),
        (f"{stage.name}: beyond the budget", rest),
    ]
    state.alive, state.scores = taken.kept, ranking.scores


def _ranking(stage: Stage, method: Method, state: _State, evidence: Evidence, enough, total, costs) -> Ranking:
    own = {name: value for name, value in stage.values.items() if name in method.own}
    if method.kind == "score":
        return method.run(evidence, **own)
    if not method.is_greedy:
        return method.run(evidence, np.sort(state.alive), **own)
    available = len(state.alive) if costs is None else int(costs[state.alive].sum())
    return method.run(evidence, np.sort(state.alive), enough, min(1.0, total / max(1, available)), **own)


def _check_met(stage: Stage, budget: Budget, total: int, taken, copies, costs, num_pool: int) -> None:
    """Refuse a budget that what is left cannot fill, and one that holds nothing."""
    if taken.is_full and len(taken.kept):
        return
    if not len(taken.kept):
        raise InputError(f"{stage} keeps nothing: the first example has more than {total} tokens; raise the budget")
    unit = "examples" if costs is None else "tokens"
    got = len(taken.kept) if costs is None else int(costs[taken.kept].sum())
    if len(taken.over_cap):
        raise InputError(
            f"{stage}: with per_domain={budget.per_domain} only {got} of {total} {unit} can be kept; raise per_domain, "
            "or keep less"
        )
    raise InputError(
        f"{stage}: {total} {unit} asked for, but the stages before left {got} of the pool's {num_pool} examples; "
        "keep less, or loosen them"
        if costs is None
        else f"{stage}: {total} tokens asked for, but the stages before left {got}; keep less, or loosen them"
    )
