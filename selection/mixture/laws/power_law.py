"""Power laws in steps and in size (2403.16952, section 4): losses at a scale that was not run."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from thresher.errors import InputError


class RisingLosses(InputError):
    """Raised for losses that no falling power law fits."""


@dataclass(frozen=True)
class PowerLaw:
    """L(D) = floor + (scale / D)^exponent: the step law with D in tokens or steps, the size law in parameters."""

    floor: float
    scale: float
    exponent: float

    def predict(self, amount: float | Float[np.ndarray, "*n"]) -> float | Float[np.ndarray, "*n"]:
        """The loss at each amount."""
        return self.floor + (self.scale / np.asarray(amount, dtype=float)) ** self.exponent


def fit_power_law(amounts: Float[np.ndarray, "n"], losses: Float[np.ndarray, "n"]) -> PowerLaw:
    """Fit a falling curve with a floor of 0 or more by least squares.

    Only the exponent is searched, because for a fixed one the rest is linear.

    Raises InputError for amounts of 0 or below and for fewer than 3 different ones, and RisingLosses, which is an
    InputError, for losses that do not fall.
    """
    if np.any(amounts <= 0):
        raise InputError(f"amount {amounts.min():g} is on no power law; give amounts above 0")
    if len(np.unique(amounts)) < 3:
        raise InputError(f"a power law has 3 parameters, {len(np.unique(amounts))} amounts given; give 3 or more")
    unit = np.exp(np.log(amounts).mean())
    centred = np.log(amounts / unit)

    def solve(exponent: float) -> tuple[float, float, float]:
        basis = np.exp(-exponent * centred)
        tilt = basis - basis.mean()
        height = float(tilt @ losses / (tilt @ tilt))
        floor = float(losses.mean() - height * basis.mean())
        if floor < 0:
            floor, height = 0.0, float(basis @ losses / (basis @ basis))
        return float(np.sum((losses - floor - height * basis) ** 2)), floor, height

    grid = np.geomspace(0.01, 4, 60)
    best = int(np.argmin([solve(exponent)[0] for exponent in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    search = minimize_scalar(lambda e: solve(e)[0], bounds=bounds, method="bounded")
    exponent = float(search.x)  # pyright: ignore[reportAttributeAccessIssue]
    _, floor, height = solve(exponent)
    if height <= 0:
        raise RisingLosses("losses do not fall as the amount grows, so no power law fits; check the column of amounts")
    return PowerLaw(floor, unit * height ** (1 / exponent), exponent)


def extrapolate(
    amounts: Float[np.ndarray, "s"], curves: Float[np.ndarray, "n s k"], amount: float
) -> Float[np.ndarray, "n k"]:
    """The losses at `amount` by a power law over `amounts` for each run and target.

    Where a loss does not fall with the amount, as on text that a mixture makes a model forget, its last value is kept,
    the mean of several at the largest amount.
    """
    num_runs, _, num_targets = curves.shape
    last = amounts == amounts.max()
    values = np.empty((num_runs, num_targets))
    for run, target in np.ndindex(num_runs, num_targets):
        try:
            values[run, target] = fit_power_law(amounts, curves[run, :, target]).predict(amount)
        except RisingLosses:
            values[run, target] = curves[run, last, target].mean()
    return values
