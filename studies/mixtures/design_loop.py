"""Design mixtures, train proxies on them, fit a law, train where it learns most, and propose a mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.artifacts import is_artifact
from thresher.data.examples import open_examples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.proxies.planned import Planned, say_planned
from thresher.seeds import derive
from thresher.selection.mixture.constraints import Constraints, make_constraints
from thresher.selection.mixture.design import Plan, next_runs, plan_runs
from thresher.selection.mixture.goal import Goal
from thresher.selection.mixture.methods import DEFAULT, METHODS, method_named
from thresher.selection.mixture.optimiser import optimise
from thresher.selection.mixture.proposal import BASELINES
from thresher.studies.mixtures.proposal import propose_from
from thresher.studies.mixtures.runs import Bench, mixture_trial, run_mixtures, table_of, write_runs
from thresher.workspace import Workspace

FIXED = 1e-9
"""A share that bounds leave no more room than this does not vary."""
Rows = list[dict[str, Any]]
"""Finished runs in the order of the design: `run`, `weights`, `data`, and the facts that `run_mixtures` gives."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which runs are made, and when to stop."""

    run_budget: int
    """Tokens (images) that a run trains on; in a DDO, those of its base run."""
    kind: str = "space-filling"
    """One of `selection.mixture.design.DESIGNS`."""
    num_runs: int | None = None
    """How many mixtures in all; None: twice the domains + 10. A DDO has its own number."""
    num_first: int | None = None
    """How many of them are designed beforehand; None: twice the domains + 2."""
    batch: int = 4
    """How many runs are chosen at a time after the first."""
    repeats: int = 1
    """How many seeds each mixture is trained from."""
    max_flops: float | None = None
    """Stop before a batch of runs that would cost more than this in all."""
    method: str | None = None
    """How the proposal is made; None: the default law, or AutoScale after a DDO."""
    seed: int = 0


def propose_by_runs(
    bench: Bench,
    design: Design,
    goal: Goal,
    constraints: Constraints,
    design_constraints: Constraints,
    *,
    natural: Float[np.ndarray, "m"] | None,
    budget: float | None = None,
    num_resamples: int = 200,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Make the runs of `design`, write them to `runs.csv`, and return a proposal as `propose_from` gives it.

    The proposal obeys `constraints`; the small runs obey `design_constraints`, because how often a domain may be
    repeated in the training to come does not bind them, and those of a DDO obey none. Runs that exist already are only
    opened, so the same call resumes and a larger `num_runs` goes on. Raises InputError, before anything is trained, for
    settings that cannot be.
    """
    if design.method == "autoscale" and design.kind != "ddo":
        raise InputError("autoscale is fitted to a ddo; pass --design ddo, or another method")
    if design.method is not None and design.method not in ("autoscale", *BASELINES):
        method_named(design.method)
    rows = _Loop(bench, design, goal, design_constraints, natural, workers, progress).run()
    domains, targets, out = constraints.domains, list(bench.targets), bench.root / "runs.csv"
    write_runs(rows, domains, targets, out)
    base = float(sum(row["seen"] for row in rows) / sum(row["data"] for row in rows))
    method = design.method or ("autoscale" if design.kind == "ddo" else None)
    result = propose_from(
        table_of(rows, domains, targets),
        goal,
        constraints,
        method=method,
        budget=budget,
        num_resamples=num_resamples,
        seed=design.seed,
        natural=natural,
        fitted_budget=base if method == "autoscale" else None,
        progress=progress,
    )
    return result | {
        "num_trained": len(rows),
        "flops": sum(row["flops"] for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "num_parameters": rows[0]["num_parameters"],
        "run_budget": base,
        "table": str(out.resolve()),
    }


@dataclass(frozen=True)
class _Loop:
    bench: Bench
    design: Design
    goal: Goal
    constraints: Constraints
    natural: Float[np.ndarray, "m"] | None
    workers: int | None
    progress: Progress

    def run(self) -> Rows:
        """All runs, in the order they were designed."""
        design = self.design
        if design.repeats < 1 or design.batch < 1:
            raise InputError("--repeats and --batch must be 1 or more; check them")
        plan, total = self._plan()
        weights, sizes = plan.weights[:total], plan.amounts[:total].sum(axis=1) / len(plan.domains)
        # With a limit on FLOPs, a few at a time: what a run costs is known after the first.
        step = len(sizes) if design.max_flops is None else design.batch
        self._say_effort(total)
        rows: Rows = []
        for start in range(0, len(sizes), step):
            if not (rows and self._is_spent(rows)):
                part = slice(start, start + step)
                rows += self._train(weights[part], design.run_budget * sizes[part], start)
        while len(rows) < total * design.repeats and not self._is_spent(rows):
            start = len(rows) // design.repeats
            weights = self._next(rows, min(design.batch, total - start))
            rows += self._train(weights, [design.run_budget] * len(weights), start)
        return rows

    def _say_effort(self, total: int) -> None:
        """What the runs that are not there yet take, were they all made."""
        bench = self.bench
        there = sum(is_artifact(path) for path in (bench.root / "models").glob("*"))
        runs = Planned(bench.model, [float(self.design.run_budget)] * (total * self.design.repeats - there))
        workspace = Workspace(bench.root, bench.device, self.progress, bench.executor)
        say_planned([runs], open_examples(bench.pool), workers=self.workers, workspace=workspace)

    def _plan(self) -> tuple[Plan, int]:
        """The mixtures that are designed beforehand, and how many there will be in all."""
        design, num_domains = self.design, len(self.constraints.domains)
        if design.kind == "ddo":
            # What bounds the proposal cannot move a DDO's runs, from which the curves are read.
            free = make_constraints(self.constraints.domains)
            plan = plan_runs(free, design.num_runs, kind="ddo", seed=design.seed)
            return plan, len(plan.weights)
        for domain, low, high in zip(
            self.constraints.domains, self.constraints.lower, self.constraints.upper, strict=True
        ):
            if high - low <= FIXED:
                raise InputError(
                    f"domain {domain!r} would have the share {low:g} in every run, of which nothing is learnt; give it "
                    "room between its bounds, or prepare a pool without it"
                )
        total = 2 * num_domains + 10 if design.num_runs is None else design.num_runs
        # Not a share of the total: a larger total must go on from the same runs.
        first = 2 * num_domains + 2 if design.num_first is None else design.num_first
        if total < 3 or first < 3:
            raise InputError(f"{min(total, first)} runs teach nothing about mixtures; design 3 or more")
        return plan_runs(self.constraints, first, kind=design.kind, seed=design.seed), total

    def _train(self, weights: np.ndarray, budgets: Sequence[float] | np.ndarray, start: int) -> Rows:
        """Train each mixture from every repeat's seed; `start` is the number of the first mixture."""
        design = self.design
        pool, domains = open_examples(self.bench.pool), self.constraints.domains
        trials = [
            mixture_trial(
                pool,
                str(number),
                repeat,
                dict(zip(domains, map(float, shares), strict=True)),
                budget=max(1, round(float(budget))),
                seed=derive(design.seed, "mixture-run", repeat),
            )
            for number, (shares, budget) in enumerate(zip(weights, budgets, strict=True), start)
            for repeat in range(design.repeats)
        ]
        facts = run_mixtures(trials, self.bench, workers=self.workers, progress=self.progress)
        return [
            {
                "run": trial.name,
                "weights": trial.mixture,
                "data": (trial.budget or 0) / design.run_budget,
                **facts_of_trial,
            }
            for trial, facts_of_trial in zip(trials, facts, strict=True)
        ]

    def _is_spent(self, rows: Rows) -> bool:
        """Whether another batch would cost more than there is."""
        if self.design.max_flops is None:
            return False
        spent = sum(row["flops"] for row in rows)
        return spent + self.design.batch * self.design.repeats * spent / len(rows) > self.design.max_flops

    def _next(self, rows: Rows, count: int) -> np.ndarray:
        """Mixtures that could be the best, by what is known so far."""
        table, seed = table_of(rows, self.constraints.domains, list(self.bench.targets)), self.design.seed
        # A portfolio's one value is no loss, and a baseline is no law: the batch is then chosen by the default.
        chosen = METHODS.get(self.design.method or DEFAULT, METHODS[DEFAULT])
        fit = chosen.fit if chosen.predicts_losses else METHODS[DEFAULT].fit
        law = fit(table.weights, table.losses, seed)
        base = self.constraints.prior if self.natural is None else self.natural
        aim = self.goal.counted_from(law.predict(base[None]))
        best = optimise(law, aim, self.constraints, seed=seed, starts=table.weights).weights
        options = {"candidates": [best], "seed": seed + len(rows)}
        return next_runs(law, table, aim, self.constraints, count, **options)
