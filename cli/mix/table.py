"""`thresher mix table`: from a CSV of mixtures and losses to a mixture and how sure it is."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro

from thresher.cli.arguments import flag_of
from thresher.cli.command import named_numbers
from thresher.cli.mix.options import Proposing, command_line
from thresher.cli.options import settings_of
from thresher.errors import InputError
from thresher.idle import Idle
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Table(Proposing):
    """Fit a table of runs and propose a mixture.

    One CSV with weight_* and loss_* columns, or several joined with --index. Rows whose weights sum to 1 within .01
    are renormalised.
    """

    usage = """
    thresher mix table runs.csv --out mixture
    thresher mix table runs.csv --tokens web=4e9 books=1e9 --budget 2e9 --max-repeats 4 --next 3
    """

    makes = "workspace"
    idle = Idle(
        needs={"ddo_factors": ("ddo_order",)},
        replaced={
            **dict.fromkeys(("loss_columns", "index"), ("columns",)),
            **dict.fromkeys(("weight_columns", "step_column", "size_column"), ("columns", "ddo_order")),
            **dict.fromkeys(("at_step", "at_size"), ("ddo_order",)),
        },
    )

    files: tyro.conf.Positional[tuple[Path, ...]]
    """The table's CSV file, or files to join on --index."""
    method: str = "ensemble"
    """ensemble, diminishing, exponential, effective, gaussian-process, regmix, linear, log-linear, utilimax, autoscale,
    or a baseline to judge: uniform, natural, best-observed."""
    columns: Path | None = None
    """A TOML file with weights, losses (patterns or lists of them), index, step, size; instead of
    the options that name columns."""
    weight_columns: tuple[str, ...] = ("weight_*",)
    """Patterns of the weights' columns; what * matches is the domain's name."""
    loss_columns: tuple[str, ...] = ("loss_*",)
    """Patterns of the losses' columns."""
    index: str | None = None
    """The column that joins several files."""
    step_column: str | None = None
    """Training steps (or tokens) of a row: losses are read at --at-step by each run's step law."""
    size_column: str | None = None
    """Model size of a row: losses are read at --at-size by each mixture's size law."""
    at_step: float | None = None
    at_size: float | None = None
    tokens: tuple[str, ...] = ()
    """DOMAIN=TOKENS there are: makes the natural mixture, and with --budget the caps."""
    test: tuple[Path, ...] = ()
    """Files of runs, with the same columns, that the finished fit is scored on and nothing else sees."""
    test_fraction: float | None = None
    """Or hold out this share of the table for that."""
    next: int = 0
    """Name so many mixtures to run next, where they inform most."""
    ddo_order: tuple[str, ...] = ()
    """Domains of a DDO without weight columns: rows are base, each domain cut, each raised, in this order."""
    ddo_factors: tuple[float, float] = (1 / 5, 3.0)
    """What such a DDO cuts and raises a domain to."""
    fitted_budget: float | None = None
    """AutoScale: tokens of the DDO's base run."""
    second: Path | None = None
    """AutoScale, mode paper: the DDO at another budget."""
    second_budget: float | None = None
    """Tokens of its base run."""
    mode: str | None = None
    """AutoScale: exact (solve anew at --budget), or paper (extrapolate two optima; the default with --second)."""
    floor_amount: float = 0.2
    """AutoScale: least amount of a domain, as a share of the base run's."""
    out: Path | None = None
    """A folder for mixture.json and report.html."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Read the table, fit it and propose a mixture."""
        from thresher.selection.mixture.table_file import Columns, read_columns
        from thresher.studies.mixtures.proposal import natural_of, propose_from, write_proposal
        from thresher.studies.mixtures.tables import AutoScaleSettings, TableFormat, read_with_test

        if self.method != "autoscale":
            for name in self.given(*(field.name for field in fields(AutoScaleSettings))):
                raise InputError(f"{flag_of(name)} is autoscale's alone; leave it out, or pass --method autoscale")
        named = (self.weight_columns, self.loss_columns, self.index, self.step_column, self.size_column)
        columns = Columns(*named) if self.columns is None else read_columns(self.columns)
        table_format = settings_of(self, TableFormat, columns=columns)
        test_options = {"test": self.test, "test_fraction": self.test_fraction, "seed": self.seed}
        table, test = read_with_test(self.files, table_format, **test_options)
        tokens = named_numbers(self.tokens, "--tokens") or None
        table, bounds = table.without_dropped(tokens=tokens, **self.bounds())
        tokens = bounds.pop("tokens")
        if self.budget is not None and tokens is None and self.method != "autoscale":
            raise InputError("--budget caps nothing without --tokens DOMAIN=COUNT for every domain; give both")
        autoscale = settings_of(self, AutoScaleSettings) if self.method == "autoscale" else None
        result = propose_from(
            table,
            self.goal(table.targets),
            self.constraints(table.domains, tokens, bounds=bounds),
            method=self.method,
            budget=self.budget,
            num_resamples=self.checked_resamples(),
            seed=self.seed,
            natural=natural_of(table.domains, tokens),
            test=test,
            num_next=self.next,
            autoscale=None if autoscale is None else autoscale.options(table_format, self.budget, table.domains),
            progress=progress,
        )
        if self.out is None:
            return result
        return write_proposal(result, self.out, command=command_line("table", self))
