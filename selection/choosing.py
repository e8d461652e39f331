"""Run a spec on evidence, stage by stage: filters leave examples out, rankings keep the best within a budget."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.scores import Scores
from thresher.selection.budget import Amount, Budget
from thresher.selection.evidence import FROM_MODELS, Evidence
from thresher.selection.methods import BUDGET, METHODS, SAMPLING, Method, needs_no_model, needs_of_stage, stages_of
from thresher.selection.selection import Selected
from thresher.selection.selectors.ranking import Filtered, Ranking
from thresher.selection.selectors.sampling import repeated, tempered
from thresher.selection.spec import Stage


@dataclass
class _State:
    """A selection between two stages."""

    alive: Int[np.ndarray, "m"]
    """Positions still there, in the order of the last ranking; they may repeat after the last stage."""
    left_out: list[tuple[str, Int[np.ndarray, "d"]]]
    """(reason, positions) in the order in which they were left out, each from the nearest to being taken."""
    scores: Float[np.ndarray, "n"]
    num_draws: int = 0
    """How many stages have drawn by temperature."""


def select_by(
    spec: str,
    evidence: Evidence,
    *,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
) -> Selected:
    """Select by a spec: what it keeps of the pool, and what it drops and why.

    The budget of the last stage stands in the spec or is given here. A spec that ends in a filter takes no budget and
    keeps all that is left. Raises InputError, before anything is computed, for a spec that cannot be read and evidence
    that is missing, and later for a budget beyond what is left.
    """
    stages, amounts = _planned(spec, evidence, {"fraction": fraction, "count": count, "tokens": tokens})
    state, report = _State(np.arange(len(evidence)), [], np.full(len(evidence), np.nan)), []
    for stage, amount in zip(stages, amounts, strict=True):
        start, before = time.perf_counter(), len(state.alive)
        if amount is None:
            _filter(stage, state, evidence)
        else:
            _rank(stage, amount, state, evidence)
        seconds = round(time.perf_counter() - start, 3)
        report.append({"stage": str(stage), "from": before, "kept": len(state.alive), "seconds": seconds})
    dropped = [np.empty(0, dtype=np.int64), *(positions for _, positions in reversed(state.left_out))]
    reasons = [why for why, positions in reversed(state.left_out) for _ in positions]
    return Selected(state.scores, state.alive, np.concatenate(dropped), reasons, report)


def check_spec(
    spec: str,
    evidence: Evidence,
    *,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
) -> None:
    """Check what can be checked of `select_by` before there are models; `evidence` is what there is without any.

    Stages that need no model are run, up to the first that does. Raises InputError for what `select_by` would refuse of
    them, and for a budget that the examples they leave, or domains with such a cap, cannot fill.
    """
    stages, amounts = _planned(spec, evidence, {"fraction": fraction, "count": count, "tokens": tokens}, ahead=True)
    state, is_known = _State(np.arange(len(evidence)), [], np.full(len(evidence), np.nan)), True
    for stage, amount in zip(stages, amounts, strict=True):
        is_known &= needs_no_model([stage])
        if amount is not None:
            _check_reach(stage, amount, state.alive, evidence)
        if is_known:
            _filter(stage, state, evidence) if amount is None else _rank(stage, amount, state, evidence)
        elif amount is not None:
            return  # it hands on at least its budget, and what comes later asks for no more
        # What a filter that needs models leaves is not known, but no more than there is.


def check_needs(spec: str, evidence: Evidence, **budget: Any) -> None:
    """Raise InputError where `select_by` would for a spec, missing evidence and a budget, before anything is made."""
    _planned(spec, evidence, budget)


def _planned(
    spec: str, evidence: Evidence, given: dict[str, Any], *, ahead: bool = False
) -> tuple[list[Stage], list[Amount | None]]:
    """The stages of `spec` and how much each keeps; with `ahead`, evidence that takes models may be missing."""
    stages = stages_of(spec)
    budgets = _budgets(spec, stages, given)
    for stage, budget in zip(stages, budgets, strict=True):
        asker = f"method {stage.name!r}"
        for need in needs_of_stage(stage):
            if not (ahead and need in FROM_MODELS):
                evidence.require(need, asker)
        if budget is not None and budget.tokens is not None:
            evidence.require("lengths", f"a budget in tokens ({budget.tokens})")
    amounts = [None if budget is None else budget.of(evidence.lengths) for budget in budgets]
    _check_falling(stages, budgets, amounts, len(evidence))
    return stages, amounts


def _check_falling(
    stages: Sequence[Stage], budgets: Sequence[Budget | None], amounts: Sequence[Amount | None], num_pool: int
) -> None:
    """Refuse a ranking that is asked for more than the budget of one before it; a little more may be left by luck."""
    handed: dict[bool, int] = {}
    for stage, budget, amount in zip(stages, budgets, amounts, strict=True):
        if budget is None or amount is None:
            continue
        counts = budget.count is not None
        times = stage.values.get("repeats", 1)
        left = handed.get(counts)
        if left is not None and amount.total > left * times:
            raise InputError(_too_much(stage, amount, left, num_pool))
        handed[counts] = amount.total


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
        elif stage.values.get("repeats", 1) == 1 and "repeat_cost" in stage.values:
            raise InputError(f"repeat_cost changes nothing in {stage} without repeats; add repeats=2, or leave it out")
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
    filtered: Filtered = METHODS[stage.name].run(evidence, state.alive, **stage.values)
    keeps = filtered.keep[state.alive]
    if not keeps.any():
        raise InputError(f"{stage} leaves nothing of {len(keeps)} examples; loosen it")
    state.left_out.append((str(stage), state.alive[~keeps]))
    state.alive, state.scores = state.alive[keeps], filtered.scores


def _rank(stage: Stage, amount: Amount, state: _State, evidence: Evidence) -> None:
    method = METHODS[stage.name]
    ranking = _ranking(stage, method, state, evidence, amount)
    keys = ranking.keys
    sampling = {name: stage.values.get(name, item.default) for name, item in SAMPLING.items()}
    if method.samples:
        keys = tempered(keys, sampling["temperature"], evidence, state.num_draws)
        state.num_draws += sampling["temperature"] > 0
    order = Ranking(ranking.scores, keys).order(state.alive)
    copies = repeated(order, keys, sampling["repeats"], sampling["repeat_cost"]) if method.samples else order
    _check_reach(stage, amount, copies, evidence)
    taken = amount.take(copies, evidence.domains)
    assert taken.is_full, "a budget that was found reachable was not reached"
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


def _ranking(stage: Stage, method: Method, state: _State, evidence: Evidence, amount: Amount) -> Ranking:
    options = {name: value for name, value in stage.values.items() if name in method.own}
    if method.kind == "score":
        return method.run(evidence, **options)
    alive = np.sort(state.alive)
    if not method.is_greedy:
        return method.run(evidence, alive, **options)
    share = min(1.0, amount.total / max(1, int(amount.costs[alive].sum())))
    domains = evidence.domains
    room = amount.room(domains)
    return method.run(evidence, alive, lambda order: amount.take(order, domains).is_full, room, share, **options)


def _check_reach(stage: Stage, amount: Amount, order: Int[np.ndarray, "k"], evidence: Evidence) -> None:
    """Refuse a budget that what is left cannot fill, each domain up to its cap; the order makes no difference."""
    times = stage.values.get("repeats", 1) if len(np.unique(order)) == len(order) else 1
    reached = amount.within(np.tile(order, times), evidence.domains)
    if reached >= amount.total:
        return
    if amount.per_domain is not None and amount.costs[order].sum() * times >= amount.total:
        raise InputError(
            f"{stage}: with per_domain={amount.per_domain} only {reached} of {amount.total} {amount.unit} can be kept; "
            "raise per_domain, or keep less"
        )
    raise InputError(_too_much(stage, amount, reached, len(evidence)))


def _too_much(stage: Stage, amount: Amount, left: int, num_pool: int) -> str:
    of_pool = f" of the pool's {num_pool} examples" if amount.unit == "examples" else ""
    return (
        f"{stage}: {amount.total} {amount.unit} asked for, but the stages before left {left}{of_pool}; keep less, or "
        "loosen them"
    )


def select(
    method: str,
    scores: Scores,
    *,
    fraction: float | None = None,
    count: int | None = None,
    seed: int = 0,
    targets: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    gradient_norms: Float[np.ndarray, "n"] | None = None,
) -> Selected:
    """Keep a `fraction` of the pool's tokens, or `count` examples, by a spec that needs nothing but scores.

    The scores of `targets` (None: all) are normalised over the pool and averaged with `weights` (None: equal). For
    methods that look at other evidence see `select_by`. Raises InputError for an unknown method or target, scores that
    cannot rank the pool, and a budget that cannot be met.
    """
    facts = {"scores": scores.of(targets), "gradient_norms": gradient_norms, "lengths": scores.lengths}
    evidence = Evidence(scores.ids, scores.domains, seed=seed, weights=weights, **facts)
    return select_by(method, evidence, fraction=fraction, count=count)
