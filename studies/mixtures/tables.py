"""Tables of runs that were trained elsewhere, read as `thresher mix table` takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thresher.errors import InputError
from thresher.selection.mixture.autoscale.ddo import find_ddo
from thresher.selection.mixture.design import one_up_one_down
from thresher.selection.mixture.nested import at_scale
from thresher.selection.mixture.table import MixtureTable, make_table, split
from thresher.selection.mixture.table_file import Columns, read_rows, read_table


@dataclass(frozen=True, kw_only=True)
class TableFormat:
    """How the files of a table are read."""

    columns: Columns = field(default_factory=Columns)
    at_step: float | None = None
    """The training step at which losses are read, by each run's step law."""
    at_size: float | None = None
    """The model size at which losses are read, by each mixture's size law."""
    ddo_order: tuple[str, ...] = ()
    """Domains of a DDO without weight columns: rows are base, each domain cut, each raised, in this order."""
    ddo_factors: tuple[float, float] = (1 / 5, 3.0)
    """What such a DDO cuts and raises a domain to."""

    def read(self, files: Sequence[Path]) -> MixtureTable:
        """The checked table of one file, or of several files joined on their index column.

        Raises InputError for what cannot be read and for rows that are no DDO of `ddo_order`.
        """
        if not files:
            raise InputError("no table given; give a CSV file with weight_* and loss_* columns")
        if self.ddo_order:
            return self._read_ddo(files)
        columns = self.columns
        if columns.step is None and columns.size is None and self.at_step is None and self.at_size is None:
            return read_table(files, columns)
        return at_scale(read_rows(files, columns), columns, step=self.at_step, size=self.at_size)

    def _read_ddo(self, files: Sequence[Path]) -> MixtureTable:
        raw = read_rows(files, self.columns, weighted=False)
        low, high = self.ddo_factors
        amounts = one_up_one_down(len(self.ddo_order), low=low, high=high)
        if len(raw.losses) != len(amounts):
            raise InputError(
                f"{len(raw.losses)} rows are no DDO of {len(self.ddo_order)} domains; it has {len(amounts)}"
            )
        weights = amounts / amounts.sum(axis=1, keepdims=True)
        return make_table(self.ddo_order, raw.targets, weights, raw.losses)


def read_with_test(
    files: Sequence[Path],
    table_format: TableFormat,
    *,
    test: Sequence[Path] = (),
    test_fraction: float | None = None,
    seed: int = 0,
) -> tuple[MixtureTable, MixtureTable | None]:
    """A table and its test runs: those in the files `test`, or the share `test_fraction` of the table, or None."""
    table = table_format.read(files)
    if test and test_fraction is not None:
        raise InputError("--test and --test-fraction are two ways to the same; give one")
    if test:
        runs = table_format.read(test).only(table.targets)
        return table, replace(runs, domains=table.domains, weights=runs.over(table.domains))
    return (table, None) if test_fraction is None else split(table, test_fraction, seed)


@dataclass(frozen=True, kw_only=True)
class AutoScaleSettings:
    """What AutoScale alone takes."""

    fitted_budget: float | None = None
    """Tokens of the DDO's base run."""
    second: Path | None = None
    """The file of the DDO at another budget, for mode paper."""
    second_budget: float | None = None
    """Tokens of its base run."""
    mode: str | None = None
    """exact or paper; None: paper with a second DDO, exact without."""
    floor_amount: float = 0.2
    """Least amount of a domain, as a share of the base run's."""

    def options(self, table_format: TableFormat, budget: float | None, domains: Sequence[str]) -> dict[str, Any]:
        """What `propose_autoscale` takes beyond the common options, with the second table read over `domains`.

        Raises InputError for settings that do not fit each other or `budget`.
        """
        mode = self.mode or ("exact" if self.second is None else "paper")
        if mode not in ("exact", "paper"):
            raise InputError(f"--mode {mode!r} is unknown; pass exact or paper")
        if (self.second is None) != (self.second_budget is None):
            raise InputError("--second and --second-budget belong together; give both, or neither")
        if self.fitted_budget is None and (budget is not None or self.second is not None):
            raise InputError("--budget extrapolates from --fitted-budget, the tokens of the base run; give it too")
        options: dict[str, Any] = {
            "mode": mode,
            "floor": self.floor_amount,
            "fitted_budget": self.fitted_budget,
        }
        if self.second is not None:
            table = table_format.read((self.second,))
            table = replace(table, domains=tuple(domains), weights=table.over(domains))
            options["second"] = (table, find_ddo(table), self.second_budget)
        return options
