"""Nested laws: runs read at other steps and sizes than they were made at, so that mixtures compare where it matters.

Each run's losses go along its own step law to `step`, each mixture's along its own size law to `size` (Data Mixing
Laws, arXiv 2403.16952, section 4); the result is a table of mixtures like any other.
"""

from dataclasses import replace

import numpy as np

from thresher.errors import InputError
from thresher.selection.mixture.laws.power_law import extrapolate
from thresher.selection.mixture.table import MixtureTable, make_table
from thresher.selection.mixture.table_file import Columns, RawRows

# Beyond this multiple of the largest amount measured, a power law says little.
FAR = 4.0


def at_scale(raw: RawRows, columns: Columns, *, step: float | None = None, size: float | None = None) -> MixtureTable:
    """A table with one row a mixture: its losses at `step` and `size`, as measured there or else by power laws.

    Raises InputError if a run or mixture was not measured there and has fewer than 3 amounts.
    """
    for name, column, value in (("step", columns.step, step), ("size", columns.size, size)):
        if (column is None) != (value is None):
            raise InputError(f"a {name} column and the {name} to read the losses at belong together; give both")
        if value is not None and value <= 0:
            raise InputError(f"{name} {value:g} is not an amount; give one above 0")
    steps = np.zeros(len(raw.losses)) if columns.step is None else raw.extra[columns.step]
    sizes = np.zeros(len(raw.losses)) if columns.size is None else raw.extra[columns.size]
    mixtures, group = np.unique(raw.weights.round(9), axis=0, return_inverse=True)
    group = group.reshape(-1)
    losses = []
    for mixture in range(len(mixtures)):
        rows = np.flatnonzero(group == mixture)
        row_sizes = np.unique(sizes[rows])
        at_step = np.array(
            [_read(steps, raw.losses, rows[sizes[rows] == one], step, f"mixture {mixture}") for one in row_sizes]
        )
        losses.append(_read(row_sizes, at_step, np.arange(len(row_sizes)), size, f"mixture {mixture}"))
    table = make_table(raw.domains, raw.targets, mixtures, np.array(losses))
    notes = [
        f"{name} {value:g} is {value / largest:.3g} times the largest measured: a power law is trusted that far"
        for name, value, largest in (("step", step, steps.max()), ("size", size, sizes.max()))
        if value is not None and value > FAR * largest
    ]
    return replace(table, repairs=(*table.repairs, *notes))


def _read(amounts: np.ndarray, losses: np.ndarray, rows: np.ndarray, wanted: float | None, what: str) -> np.ndarray:
    """The losses [k] at `wanted`: the mean of what was measured there, else by each target's power law."""
    there = rows if wanted is None else rows[np.isclose(amounts[rows], wanted, rtol=1e-9)]
    if len(there):
        return losses[there].mean(axis=0)
    assert wanted is not None
    if len(np.unique(amounts[rows])) < 3:
        raise InputError(
            f"{what} has {len(np.unique(amounts[rows]))} amounts and none is {wanted:g}; a power law needs 3, "
            "so add runs or read it where it was measured"
        )
    return extrapolate(amounts[rows], losses[rows][None], wanted)[0]
