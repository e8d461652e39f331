"""`thresher mix plan`: which mixtures to run, for people who train elsewhere."""

import csv
from dataclasses import dataclass
from pathlib import Path

import tyro

from thresher.cli.command import Command, named_numbers


@dataclass(frozen=True, kw_only=True)
class Plan(Command):
    """Design the mixtures of proxy runs to make elsewhere. Their losses, as loss_* columns, make it a table."""

    domains: tyro.conf.Positional[tuple[str, ...]]
    """The domains' names."""
    design: str = "space-filling"
    """space-filling, dirichlet (around the prior), or ddo (AutoScale's 2m+1 runs)."""
    runs: int | None = None
    """How many; none: twice the domains + 10. A ddo has its own number."""
    prior: tuple[str, ...] = ()
    """DOMAIN=SHARE (or tokens) to design around; none: uniform."""
    floors: tuple[str, ...] = ()
    """DOMAIN=SHARE that it gets at least."""
    ceilings: tuple[str, ...] = ()
    """DOMAIN=SHARE that it gets at most."""
    low: float = 1 / 5
    """What a ddo cuts a domain to."""
    high: float = 3.0
    """What a ddo raises a domain to."""
    out: Path | None = None
    """Write the plan as a CSV (run, data, weight_DOMAIN ...)."""
    seed: int = 0

    def run(self, progress):
        from thresher.artifacts import atomic_file
        from thresher.errors import InputError
        from thresher.selection.mixture.constraints import make_constraints
        from thresher.selection.mixture.design import plan_runs

        if len(self.domains) < 2 or len(set(self.domains)) < len(self.domains):
            raise InputError(f"domains {', '.join(self.domains)}: name 2 or more, each once")
        constraints = make_constraints(
            self.domains,
            prior=named_numbers(self.prior, "--prior") or None,
            floors=named_numbers(self.floors, "--floors"),
            ceilings=named_numbers(self.ceilings, "--ceilings"),
        )
        factors = {"low": self.low, "high": self.high} if self.design == "ddo" else {}
        plan = plan_runs(constraints, self.runs, kind=self.design, seed=self.seed, **factors)
        sizes = plan.amounts.sum(axis=1) / len(self.domains)
        if self.out is not None:
            with atomic_file(self.out) as path, open(path, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["run", "data", *(f"weight_{domain}" for domain in self.domains)])
                rows = zip(sizes.tolist(), plan.weights.tolist(), strict=True)
                writer.writerows([number, size, *weights] for number, (size, weights) in enumerate(rows))
        return plan.to_json()

    def show(self, result):
        wide = [max(len(domain), 5) for domain in self.domains]
        lines = ["  ".join(["data ", *(f"{d:>{w}}" for d, w in zip(self.domains, wide, strict=True))])]
        for row, size in zip(result["runs"], result["data_relative_to_base"], strict=True):
            cells = (f"{row[domain]:>{width}.3f}" for domain, width in zip(self.domains, wide, strict=True))
            lines.append("  ".join([f"{size:.3f}", *cells]))
        return "\n".join(lines)
