"""`thresher mix runs`: design proxy mixtures, train them, fit, ask for the next ones, propose."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.choices import Design
from thresher.cli.arguments import flag_of
from thresher.cli.lines import proposal_lines
from thresher.cli.mix.options import BY_TOKENS, Proposing, Training, command_line
from thresher.errors import InputError
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Runs(Training, Proposing):
    """Train proxies on designed mixtures of a prepared pool, fit the law, train where it learns most, propose.

    Writes runs.csv (a table for `mix table`), mixture.json and report.html. Run the same command again to resume, or
    with a larger --runs to go on.
    """

    usage = "thresher mix runs --pool pool --targets squad=target --budget 1e9 --out mixture"

    makes = "workspace"
    idle = BY_TOKENS

    out: Path
    """A folder for all runs, the table and the report."""
    model: str = "0.1M"
    """The proxy: parameters, or a model's name."""
    tokens: int | None = None
    """Tokens that each run trains on, repetitions counted; none: what --examples hold."""
    examples: int = 2000
    """Images that each run trains on, repetitions counted; of text, what so many average documents hold."""
    design: Design = "space-filling"
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

    def check(self) -> None:
        """Refuse also what a ddo, whose runs are all designed beforehand, has no use for."""
        super().check()
        ahead = ("first",) if self.max_flops else ("first", "batch")
        for name in self.given(*ahead) if self.design == "ddo" else ():
            raise InputError(
                f"{flag_of(name)} changes nothing in a ddo, whose runs are all designed beforehand; leave it out"
            )

    def run(self, progress: Progress) -> dict[str, Any]:
        """Make the runs, and write their table and the proposal."""
        from thresher.data.examples import open_examples
        from thresher.studies.experiments.training_sets import supply
        from thresher.studies.mixtures.design_loop import Design, propose_by_runs
        from thresher.studies.mixtures.proposal import natural_of, write_proposal
        from thresher.studies.mixtures.runs import run_budget

        pool = open_examples(self.pool)
        tokens = supply(pool)
        domains, bench = list(tokens), self.bench(self.out)
        design = Design(
            run_budget=run_budget(pool, self.tokens, self.examples),
            kind=self.design,
            num_runs=self.runs,
            num_first=self.first,
            batch=self.batch,
            repeats=self.repeats,
            max_flops=self.max_flops,
            method=self.method,
            seed=self.seed,
        )
        result = propose_by_runs(
            bench,
            design,
            self.goal(list(bench.targets)),
            self.constraints(domains, tokens),
            self.constraints(domains, tokens, capped=False),
            natural=natural_of(domains, tokens),
            budget=self.budget,
            num_resamples=self.checked_resamples(),
            workers=self.workers,
            progress=progress,
        )
        return write_proposal(result, self.out, command=command_line("runs", self))

    def show(self, result: Mapping[str, Any]) -> str:
        """The proposal and what the runs cost, as lines for a person."""
        spent = f"{result['num_trained']} runs, {result['flops']:.3g} FLOPs, table: {result['table']}"
        return "\n".join([*proposal_lines(result), spent])
