"""A direct data optimisation (AutoScale's 2m+1 runs) found in a table of runs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thresher.errors import InputError
from thresher.selection.mixture.table import MixtureTable

# Weights of a DDO printed to three digits still show which domain was changed.
ALIKE = 0.02


@dataclass(frozen=True)
class Ddo:
    """A DDO in a table of runs."""

    domains: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]
    """The rows of the base run, of each cut domain, and of each raised one, 2m + 1 cells in all."""
    low: float
    """What a cut domain keeps."""
    high: float
    """What a raised domain grows to."""

    @property
    def repeated(self) -> bool:
        """Whether every cell was run more than once, so that cells can be resampled."""
        return min(map(len, self.cells)) > 1

    def results(
        self, values: Float[np.ndarray, "n k"], rows: list[np.ndarray] | None = None
    ) -> Float[np.ndarray, "r k"]:
        """The mean result of each cell, in the order of `Runs.in_order`; `rows` replace the cells if given."""
        return np.array([values[list(cell)].mean(axis=0) for cell in (self.cells if rows is None else rows)])

    def resampled(self, rng: np.random.Generator) -> list[np.ndarray]:
        """As many rows of each cell, drawn with replacement."""
        return [rng.choice(cell, size=len(cell)) for cell in self.cells]


def find_ddo(table: MixtureTable) -> Ddo:
    """Find the DDO in a table; rows of other mixtures are left alone.

    Raises InputError for fewer than 3 domains, a cell that no run fills, and domains that change by different factors.
    """
    num_domains = len(table.domains)
    if num_domains < 3:
        raise InputError(
            "of 2 domains, cutting one looks like raising the other; give the rows in a DDO's order instead"
        )
    base, cut, raised = [], [[] for _ in table.domains], [[] for _ in table.domains]
    factors: dict[bool, list[float]] = {False: [], True: []}
    for row, weights in enumerate(table.weights):
        place = int(np.argmax(np.abs(weights - np.median(weights))))
        others = np.delete(weights, place)
        share = others.mean()
        if share <= 0 or np.ptp(others) > ALIKE * share:
            continue
        factor = float(weights[place] / share)
        if abs(factor - 1) <= ALIKE:
            base.append(row)
            continue
        (raised if factor > 1 else cut)[place].append(row)
        factors[factor > 1].append(factor)
    missing = [name for name, cells in (("cut", cut), ("raised", raised)) for cell in cells if not cell]
    if not base or missing:
        what = "no run of equal weights" if not base else f"{len(missing)} of {2 * num_domains} changed runs missing"
        raise InputError(
            f"the table holds no DDO ({what}); AutoScale needs a run of equal weights, and of each domain one cut and "
            "one raised alone (`thresher mix plan --design ddo`)"
        )
    # One factor down and one up: the median is free of rounding, and what differs from it is another design.
    low, high = (float(np.median(factors[up])) for up in (False, True))
    for up, middle in ((False, low), (True, high)):
        if max(abs(f / middle - 1) for f in factors[up]) > 0.05:
            raise InputError(f"the DDO's runs {'raise' if up else 'cut'} domains by different factors; use one for all")
    return Ddo(table.domains, tuple(map(tuple, [base, *cut, *raised])), _tidy(low), _tidy(high))


def _tidy(factor: float) -> float:
    """1/5 and 3 from weights that were printed to a few digits."""
    for near in (1 / 5, 1 / 4, 1 / 3, 1 / 2, 2.0, 3.0, 4.0, 5.0):
        if abs(factor / near - 1) <= ALIKE:
            return near
    return factor
