"""`thresher mix table`: from a CSV of mixtures and losses to a mixture and how sure it is."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from thresher.cli.command import named_numbers
from thresher.cli.mix.options import Proposing, command_line, show_proposal, write_result
from thresher.studies.mixtures.proposal import natural_of


@dataclass(frozen=True, kw_only=True)
class Table(Proposing):
    """Fit a table of runs and propose a mixture.

    One CSV with weight_* and loss_* columns, or several joined with --index. Rows whose weights sum to 1 within .01
    are renormalised.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """The table's CSV file, or files to join on --index."""
    method: str = "ensemble"
    """ensemble, diminishing, exponential, effective, gaussian-process, regmix, linear, log-linear, utilimax, autoscale,
    or a baseline to judge: uniform, natural, best-observed."""
    columns: Path | None = None
    """A TOML file with weights, losses (patterns or lists of them), index, step, size; instead of the next five."""
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

    def run(self, progress):
        from thresher.errors import InputError
        from thresher.selection.mixture.table import split
        from thresher.studies.mixtures.proposal import propose_from

        table = self._read(self.files)
        test = None
        if self.test and self.test_fraction is not None:
            raise InputError("--test and --test-fraction are two ways to the same; give one")
        if self.test:
            test = self._read(self.test).only(table.targets)
            test = replace(test, domains=table.domains, weights=test.over(table.domains))
        elif self.test_fraction is not None:
            table, test = split(table, self.test_fraction, self.seed)
        tokens = named_numbers(self.tokens, "--tokens") or None
        if self.budget is not None and tokens is None and self.method != "autoscale":
            raise InputError("--budget caps nothing without --tokens DOMAIN=COUNT for every domain; give both")
        result = propose_from(
            table,
            self.goal(table.targets),
            self.constraints(table.domains, tokens),
            method=self.method,
            budget=self.budget,
            num_resamples=self.checked_resamples(),
            seed=self.seed,
            natural=natural_of(table.domains, tokens),
            test=test,
            num_next=self.next,
            autoscale=self._autoscale() if self.method == "autoscale" else None,
            progress=progress,
        )
        if self.out is None:
            return result
        return write_result(result, self.out, command=command_line("table", self))

    def show(self, result):
        return show_proposal(result)

    def _read(self, files):
        from thresher.errors import InputError
        from thresher.selection.mixture.design import one_up_one_down
        from thresher.selection.mixture.nested import at_scale
        from thresher.selection.mixture.table import make_table
        from thresher.selection.mixture.table_file import Columns, read_columns, read_rows, read_table

        if not files:
            raise InputError("no table given; give a CSV file with weight_* and loss_* columns")
        if self.columns is not None:
            columns = read_columns(self.columns)
        else:
            columns = Columns(self.weight_columns, self.loss_columns, self.index, self.step_column, self.size_column)
        if self.ddo_order:
            raw = read_rows(files, columns, weighted=False)
            amounts = one_up_one_down(len(self.ddo_order), low=self.ddo_factors[0], high=self.ddo_factors[1])
            if len(raw.losses) != len(amounts):
                raise InputError(
                    f"{len(raw.losses)} rows are no DDO of {len(self.ddo_order)} domains; it has {len(amounts)}"
                )
            weights = amounts / amounts.sum(axis=1, keepdims=True)
            return make_table(self.ddo_order, raw.targets, weights, raw.losses)
        if columns.step is None and columns.size is None and self.at_step is None and self.at_size is None:
            return read_table(files, columns)
        return at_scale(read_rows(files, columns), columns, step=self.at_step, size=self.at_size)

    def _autoscale(self) -> dict:
        from thresher.errors import InputError
        from thresher.selection.mixture.autoscale.ddo import find_ddo

        mode = self.mode or ("exact" if self.second is None else "paper")
        if mode not in ("exact", "paper"):
            raise InputError(f"--mode {mode!r} is unknown; pass exact or paper")
        if (self.second is None) != (self.second_budget is None):
            raise InputError("--second and --second-budget belong together; give both, or neither")
        if self.fitted_budget is None and (self.budget is not None or self.second is not None):
            raise InputError("--budget extrapolates from --fitted-budget, the tokens of the base run; give it too")
        extra: dict = {"mode": mode, "floor": self.floor_amount, "fitted_budget": self.fitted_budget or 1.0}
        if self.second is not None:
            table = self._read((self.second,))
            extra["second"] = (table, find_ddo(table), self.second_budget)
        return extra
