"""Step and size laws read a table at another scale."""

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.selection.mixture.nested import at_scale
from thresher.selection.mixture.table_file import Columns, RawRows

MIXTURES = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])


def loss(mixture: np.ndarray, step: float, size: float) -> np.ndarray:
    floor = 1.0 + mixture
    return floor + (30 / step) ** 0.5 + (70 / size) ** 0.4 * mixture[::-1]


def rows(steps, sizes) -> RawRows:
    made = [(m, step, size) for m in MIXTURES for step in steps for size in sizes]
    weights, losses = np.array([m for m, _, _ in made]), np.array([loss(*row) for row in made])
    extra = {"step": np.array([row[1] for row in made], float), "params": np.array([row[2] for row in made], float)}
    return RawRows(["a", "b"], ["x", "y"], weights, losses, extra)


def test_losses_beyond_the_runs_follow_their_power_laws():
    raw = rows([1000, 2000, 4000, 8000], [70.0, 160.0, 305.0])
    table = at_scale(raw, Columns(step="step", size="params"), step=16000, size=410.0)
    for weights, found in zip(table.weights, table.losses, strict=True):
        np.testing.assert_allclose(found, loss(weights, 16000, 410.0), rtol=1e-4)
    assert len(table) == 3 and table.repairs == ()


def test_what_was_measured_is_taken_as_it_is_and_far_extrapolation_is_said():
    raw = rows([1000, 2000], [70.0, 160.0, 305.0])
    table = at_scale(raw, Columns(step="step", size="params"), step=2000, size=305.0)
    np.testing.assert_allclose(table.losses[0], loss(table.weights[0], 2000, 305.0))
    far = at_scale(raw, Columns(step="step", size="params"), step=2000, size=3050.0)
    assert "10 times the largest measured" in far.repairs[-1]


def test_what_is_far_is_judged_by_each_mixture_s_own_runs_and_in_both_directions():
    raw = rows([1000, 2000, 4000], [50.0])
    short = np.all(raw.weights == MIXTURES[1], axis=1)  # one mixture was stopped early
    raw.extra["step"][short] /= 10
    columns = Columns(step="step")
    found = at_scale(raw, columns, step=8000)
    assert len(found.repairs) == 1
    assert "step 8000 is 20 times the largest measured of mixture 1 (run 3)" in found.repairs[0]
    assert "1 of 3 mixtures" in found.repairs[0]
    found = at_scale(raw, columns, step=100)
    assert "step 100 is 10 times below the smallest measured of mixture" in found.repairs[0]
    assert "2 of 3 mixtures" in found.repairs[0]


@pytest.mark.parametrize("column", ["step", "params"])
def test_amounts_that_no_power_law_has_are_refused_by_row_and_used_where_nothing_is_fitted(column):
    raw = rows([1, 1000, 2000, 4000], [50.0]) if column == "step" else rows([1000], [1.0, 70.0, 160.0, 305.0])
    raw.extra[column][raw.extra[column] == 1] = {"step": 0, "params": -1}[column]
    columns, name = (Columns(step="step"), "step") if column == "step" else (Columns(size="params"), "size")
    amount = {"step": "0", "params": "-1"}[column]
    with pytest.raises(InputError, match=f"run 0: column '{column}' has {amount}, .* drop the rows at {name} {amount}"):
        at_scale(raw, columns, **{name: 9000.0})
    measured = {"step": 4000.0, "size": 305.0}[name]
    assert len(at_scale(raw, columns, **{name: measured})) == 3


def test_too_few_amounts_and_half_a_request_are_refused():
    raw = rows([1000, 2000], [70.0])
    with pytest.raises(InputError, match="2 amounts and none is 3000"):
        at_scale(raw, Columns(step="step", size="params"), step=3000, size=70.0)
    with pytest.raises(InputError, match="belong together"):
        at_scale(raw, Columns(step="step"), size=70.0)
    with pytest.raises(InputError, match="not an amount"):
        at_scale(raw, Columns(step="step"), step=-1.0)
