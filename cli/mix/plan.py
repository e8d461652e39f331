"""`thresher mix plan`: which mixtures to run, for people who train elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from thresher.choices import Design
from thresher.cli.arguments import flag_of
from thresher.cli.command import Command, named_numbers
from thresher.cli.lines import plan_lines
from thresher.errors import InputError
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Plan(Command):
    """Design the mixtures of proxy runs to make elsewhere. Their losses, as loss_* columns, make it a table."""

    usage = "thresher mix plan web books code --runs 20 --out plan.csv"

    makes = "file"

    domains: tyro.conf.Positional[tuple[str, ...]]
    """The domains' names."""
    design: Design = "space-filling"
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

    def run(self, progress: Progress) -> dict[str, Any]:
        """Design the runs, and write them to the CSV file that was asked for."""
        from thresher.selection.mixture.constraints import make_constraints
        from thresher.selection.mixture.design import plan_runs
        from thresher.studies.mixtures.runs import write_plan

        if len(self.domains) < 2 or len(set(self.domains)) < len(self.domains):
            raise InputError(f"domains {', '.join(self.domains)}: name 2 or more, each once")
        self._refuse_unused()
        constraints = make_constraints(
            self.domains,
            prior=named_numbers(self.prior, "--prior") or None,
            floors=named_numbers(self.floors, "--floors"),
            ceilings=named_numbers(self.ceilings, "--ceilings"),
        )
        factors = {"low": self.low, "high": self.high} if self.design == "ddo" else {}
        plan = plan_runs(constraints, self.runs, kind=self.design, seed=self.seed, **factors)
        if self.out is not None:
            write_plan(plan, self.out)
        return plan.to_json()

    def _refuse_unused(self) -> None:
        """Refuse options that the design does not have."""
        if self.design == "ddo" and self.prior:
            raise InputError("--prior changes nothing in a ddo, which has one base run of equal shares; leave it out")
        for name, value in self.given("low", "high").items():
            if self.design != "ddo":
                raise InputError(f"{flag_of(name)} {value:g} is a ddo's alone; leave it out, or pass --design ddo")

    def show(self, result: Mapping[str, Any]) -> str:
        """The runs as lines for a person."""
        return "\n".join(plan_lines(result))
