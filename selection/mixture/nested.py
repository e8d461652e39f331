"""Nested laws: runs read at other steps and sizes than they were made at, so that mixtures compare where it matters.

Each run's losses go along its own step law to `step`, each mixture's along its own size law to `size` (Data Mixing
Laws, arXiv 2403.16952, section 4); the result is a table of mixtures like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.selection.mixture.laws.power_law import extrapolate
from thresher.selection.mixture.table import MixtureTable, make_table
from thresher.selection.mixture.table_file import Columns, RawRows

# Beyond this multiple of the largest amount measured, or below this part of the smallest, a power law says little.
FAR = 4.0


@dataclass(frozen=True)
class _Axis:
    """What losses are read along: steps or sizes."""

    name: str
    column: str | None
    wanted: float | None
    """Where the losses are read; None: there is no such column, and all rows count alike."""
    amounts: Float[np.ndarray, "n"]
    """Of each row of the files."""


def at_scale(raw: RawRows, columns: Columns, *, step: float | None = None, size: float | None = None) -> MixtureTable:
    """A table with one row a mixture: its losses at `step` and `size`, as measured there or else by power laws.

    `repairs` name the mixture that is read furthest from its own runs, where that is far. Raises InputError if a run or
    mixture was not measured there and has fewer than 3 amounts, or one of 0 or below.
    """
    for name, column, value in (("step", columns.step, step), ("size", columns.size, size)):
        if (column is None) != (value is None):
            raise InputError(f"a {name} column and the {name} to read the losses at belong together; give both")
        if value is not None and value <= 0:
            raise InputError(f"{name} {value:g} is not an amount; give one above 0")
    nothing = np.zeros(len(raw.losses))
    steps, sizes = (
        _Axis(name, column, value, nothing if column is None else raw.extra[column])
        for name, column, value in (("step", columns.step, step), ("size", columns.size, size))
    )
    mixtures, group = np.unique(raw.weights.round(9), axis=0, return_inverse=True)
    group = group.reshape(-1)
    losses, reach = [], {"step": [], "size": []}
    for mixture in range(len(mixtures)):
        rows = np.flatnonzero(group == mixture)
        what = f"mixture {mixture} (run {rows[0]})"
        # One row of each size stands for it in the size law.
        firsts = rows[np.unique(sizes.amounts[rows], return_index=True)[1]]
        at_step, ratios = [], []
        for first in firsts:
            own = rows[sizes.amounts[rows] == sizes.amounts[first]]
            read, ratio = _read(steps, own, raw.losses[own], what)
            at_step.append(read)
            ratios.append(ratio)
        read, ratio = _read(sizes, firsts, np.array(at_step), what)
        losses.append(read)
        reach["step"].append((_furthest(ratios), what))
        reach["size"].append((ratio, what))
    table = make_table(raw.domains, raw.targets, mixtures, np.array(losses))
    notes = [note for axis in (steps, sizes) for note in _notes(axis, reach[axis.name])]
    return replace(table, repairs=(*table.repairs, *notes))


def _read(
    axis: _Axis, rows: Int[np.ndarray, "r"], losses: Float[np.ndarray, "r k"], what: str
) -> tuple[Float[np.ndarray, "k"], float]:
    """The losses at the axis's amount, and that amount as a multiple of the nearest end of what was measured.

    They are the mean of what was measured there (then the multiple is 1), or by each target's power law.
    """
    amounts, wanted = axis.amounts[rows], axis.wanted
    there = np.ones(len(rows), dtype=bool) if wanted is None else np.isclose(amounts, wanted, rtol=1e-9)
    if wanted is None or there.any():
        return losses[there].mean(axis=0), 1.0
    if (low := rows[amounts <= 0]).size:
        raise InputError(
            f"run {low[0]}: column {axis.column!r} has {axis.amounts[low[0]]:g}, and power laws start above 0; "
            f"drop the rows at {axis.name} {axis.amounts[low[0]]:g}"
        )
    if len(np.unique(amounts)) < 3:
        raise InputError(
            f"{what} has {len(np.unique(amounts))} amounts and none is {wanted:g}; a power law needs 3, "
            "so add runs or read it where it was measured"
        )
    ratio = wanted / amounts.max() if wanted > amounts.max() else min(wanted / amounts.min(), 1.0)
    return extrapolate(amounts, losses[None], wanted)[0], float(ratio)


def _furthest(ratios: Sequence[float]) -> float:
    return max(ratios, key=lambda ratio: abs(np.log(ratio)))


def _notes(axis: _Axis, reach: Sequence[tuple[float, str]]) -> list[str]:
    """A sentence for each direction in which mixtures are read far from their own runs."""
    above = [(ratio, what) for ratio, what in reach if ratio > FAR]
    below = [(1 / ratio, what) for ratio, what in reach if ratio < 1 / FAR]
    return [
        f"{axis.name} {axis.wanted:g} is {max(far)[0]:.3g} times {words} of {max(far)[1]}, and far off for "
        f"{len(far)} of {len(reach)} mixtures: a power law is trusted that far"
        for far, words in ((above, "the largest measured"), (below, "below the smallest measured"))
        if far
    ]
