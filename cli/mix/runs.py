"""`thresher mix runs`: design proxy mixtures, train them, fit, ask for the next ones, propose."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.cli.mix.options import Proposing, Training, command_line, show_proposal, write_result
from thresher.studies.mixtures.proposal import natural_of

if TYPE_CHECKING:
    from thresher.studies.mixtures.runs import Bench


@dataclass(frozen=True, kw_only=True)
class Runs(Training, Proposing):
    """Train proxies on designed mixtures of a prepared pool, fit the law, train where it learns most, propose.

    Writes runs.csv (a table for `mix table`), mixture.json and report.html. Run the same command again to resume, or
    with a larger --runs to go on.
    """

    out: Path
    """A folder for all runs, the table and the report."""
    model: str = "0.1M"
    """The proxy: parameters, or a model's name."""
    tokens: int | None = None
    """Tokens that each run trains on, repetitions counted; none: what --examples hold."""
    examples: int = 2000
    """Images that each run trains on, repetitions counted; of text, what so many average documents hold."""
    design: str = "space-filling"
    """space-filling, dirichlet (around the prior), or ddo (AutoScale's 2m+1 runs)."""
    runs: int | None = None
    """How many runs in all; none: twice the domains + 10. A ddo has its own number."""
    first: int | None = None
    """How many of them are designed beforehand; none: twice the domains + 2. The rest go where they inform most."""
    batch: int = 4
    """How many runs are chosen at a time after the first."""
    repeats: int = 1
    """Train each mixture from this many seeds."""
    max_flops: float | None = None
    """Stop before a batch of runs that would go beyond this."""
    method: str | None = None
    """How the proposal is made; none: the default law, or autoscale after a ddo."""

    def run(self, progress):
        from thresher.data.examples import open_examples
        from thresher.studies.experiments.training_sets import supply
        from thresher.studies.mixtures.runs import run_budget

        self._check_method()
        pool = open_examples(self.pool)
        tokens = supply(pool)
        bench = self.bench(self.out)
        done = self._make(bench, tokens, run_budget(pool, self.tokens, self.examples), progress)
        return self._propose(done, bench, tokens, progress)

    def show(self, result):
        spent = f"{result['num_trained']} runs, {result['flops']:.3g} FLOPs, table: {result['table']}"
        return "\n".join([show_proposal(result), spent])

    def _check_method(self) -> None:
        """Before anything is trained."""
        from thresher.errors import InputError
        from thresher.selection.mixture.methods import method_named
        from thresher.selection.mixture.proposal import BASELINES

        if self.method == "autoscale" and self.design != "ddo":
            raise InputError("autoscale is fitted to a ddo; pass --design ddo, or another method")
        if self.method is not None and self.method not in ("autoscale", *BASELINES):
            method_named(self.method)

    def _make(self, bench: "Bench", tokens: Mapping[str, int], base: int, progress) -> list[dict[str, Any]]:
        """All runs, in the order they were designed."""
        from thresher.errors import InputError
        from thresher.selection.mixture.design import plan_runs

        domains = list(tokens)
        # What only the proposal needs is checked before anything is trained too.
        self.constraints(domains, tokens)
        self.goal(list(bench.targets))
        self.checked_resamples()
        # How often a domain may be repeated in the training to come does not bind the small runs.
        constraints = self.constraints(domains, tokens, capped=False)
        if self.repeats < 1 or self.batch < 1:
            raise InputError("--repeats and --batch must be 1 or more; check them")
        if self.design == "ddo":
            plan = plan_runs(constraints, self.runs, kind="ddo", seed=self.seed)
            total = len(plan.weights)
        else:
            total = 2 * len(domains) + 10 if self.runs is None else self.runs
            # Not a share of the total: a larger total must go on from the same runs.
            first = 2 * len(domains) + 2 if self.first is None else self.first
            if total < 3 or first < 3:
                raise InputError(f"{min(total, first)} runs teach nothing about mixtures; design 3 or more")
            plan = plan_runs(constraints, first, kind=self.design, seed=self.seed)
        designed = plan.weights[:total]
        sizes = plan.amounts[:total].sum(axis=1) / len(domains)
        # With a budget, a few at a time: what a run costs is known after the first.
        step = len(sizes) if self.max_flops is None else self.batch
        rows: list[dict[str, Any]] = []
        for start in range(0, len(sizes), step):
            if not (rows and self._spent(rows)):
                part = slice(start, start + step)
                rows += self._train(bench, domains, designed[part], base * sizes[part], start, base, progress)
        while len(rows) < total * self.repeats and not self._spent(rows):
            batch = min(self.batch, total - len(rows) // self.repeats)
            asked = self._next(rows, bench, tokens, batch)
            rows += self._train(bench, domains, asked, [base] * batch, len(rows) // self.repeats, base, progress)
        return rows

    def _train(
        self, bench: "Bench", domains: Sequence[str], weights, budgets, start: int, base: int, progress
    ) -> list[dict[str, Any]]:
        from thresher.seeds import derive
        from thresher.studies.mixtures.runs import MixtureRun, make_runs

        planned: list[MixtureRun] = []
        for place, (row, budget) in enumerate(zip(weights, budgets, strict=True)):
            shares = {domain: float(share) for domain, share in zip(domains, row, strict=True)}
            planned += [
                MixtureRun(
                    f"{start + place}-{repeat}",
                    shares,
                    max(1, round(float(budget))),
                    derive(self.seed, "mixture-run", repeat),
                )
                for repeat in range(self.repeats)
            ]
        made = make_runs(planned, bench, workers=self.workers, progress=progress)
        return [
            {"run": run.name, "weights": run.weights, "data": run.budget / base, **facts}
            for run, facts in zip(planned, made, strict=True)
        ]

    def _spent(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        if self.max_flops is None:
            return False
        spent = sum(row["flops"] for row in rows)
        return spent + self.batch * self.repeats * spent / len(rows) > self.max_flops

    def _next(self, rows, bench: "Bench", tokens: Mapping[str, int], batch: int):
        """Mixtures that could be the best, by what is known so far."""
        from thresher.selection.mixture.design import next_runs
        from thresher.selection.mixture.methods import DEFAULT, METHODS
        from thresher.selection.mixture.optimise import optimise

        table = table_of(rows, list(tokens), list(bench.targets))
        goal, constraints = self.goal(table.targets), self.constraints(list(tokens), tokens, capped=False)
        # A portfolio's one value is no loss, and a baseline is no law: the batch is then chosen by the default.
        chosen = METHODS.get(self.method or DEFAULT, METHODS[DEFAULT])
        fit = chosen.fit if chosen.predicts_losses else METHODS[DEFAULT].fit
        law = fit(table.weights, table.losses, self.seed)
        best = optimise(law, goal, constraints, seed=self.seed, starts=table.weights).weights
        return next_runs(law, table, goal, constraints, batch, candidates=[best], seed=self.seed + len(rows))

    def _propose(self, rows, bench: "Bench", tokens: Mapping[str, int], progress) -> dict[str, Any]:
        from thresher.studies.mixtures.proposal import propose_from

        domains = list(tokens)
        write_runs(rows, domains, list(bench.targets), self.out / "runs.csv")
        base = float(sum(row["seen"] for row in rows) / sum(row["data"] for row in rows))
        table = table_of(rows, domains, list(bench.targets))
        result = propose_from(
            table,
            self.goal(table.targets),
            self.constraints(table.domains, tokens),
            method=self.method or ("autoscale" if self.design == "ddo" else None),
            budget=self.budget,
            num_resamples=self.checked_resamples(),
            seed=self.seed,
            natural=natural_of(domains, tokens),
            fitted_budget=base,
            progress=progress,
        )
        result |= {
            "num_trained": len(rows),
            "flops": sum(row["flops"] for row in rows),
            "seconds": round(sum(row["seconds"] for row in rows), 3),
            "num_parameters": rows[0]["num_parameters"],
            "run_budget": base,
            "table": str((self.out / "runs.csv").resolve()),
        }
        return write_result(result, self.out, command=command_line("runs", self))


def table_of(rows: Sequence[Mapping[str, Any]], domains: Sequence[str], targets: Sequence[str]):
    """The runs as a checked table."""
    import numpy as np

    from thresher.selection.mixture.table import make_table

    weights = np.array([[row["weights"][domain] for domain in domains] for row in rows])
    losses = np.array([[row["losses"][target] for target in targets] for row in rows])
    return make_table(domains, targets, weights, losses)


def write_runs(rows: Sequence[Mapping[str, Any]], domains: Sequence[str], targets: Sequence[str], out: Path) -> None:
    """`runs.csv`: run, data (relative to the base run), a weight a domain, a loss a target, FLOPs and seconds."""
    from thresher.artifacts import atomic_file

    header = ["run", "data", *(f"weight_{d}" for d in domains), *(f"loss_{t}" for t in targets), "flops", "seconds"]
    with atomic_file(out) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            weights, losses = (row["weights"][d] for d in domains), (row["losses"][t] for t in targets)
            writer.writerow([row["run"], row["data"], *weights, *losses, row["flops"], row["seconds"]])
