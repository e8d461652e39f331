"""`thresher.propose_mixture`: what the command refuses, the function refuses too."""

import numpy as np
import pytest

import thresher
from thresher.errors import InputError
from thresher.selection.mixture.constraints import make_constraints
from thresher.selection.mixture.design import plan_runs
from thresher.selection.mixture.table import MixtureTable, make_table


@pytest.fixture(scope="module")
def ddo() -> MixtureTable:
    plan = plan_runs(make_constraints(("a", "b", "c")), kind="ddo")
    losses = sum((plan.amounts[:, [d]] + 0.5) ** -(0.3 + 0.2 * d) for d in range(3))
    return make_table(("a", "b", "c"), ("t",), plan.weights, losses)


def test_autoscale_goes_from_the_fitted_budget_to_the_one_asked_for(ddo):
    at = {
        budget: thresher.propose_mixture(ddo, method="autoscale", budget=budget, fitted_budget=1e9, num_resamples=0)
        for budget in (1e9, 4e9)
    }
    assert at[1e9]["t"] == 0 and at[4e9]["t"] == pytest.approx(2)
    fitted = thresher.propose_mixture(ddo, method="autoscale", num_resamples=0)
    assert at[1e9]["weights"] == pytest.approx(fitted["weights"])
    assert at[4e9]["weights"] != pytest.approx(fitted["weights"], abs=0.01)


def test_one_of_autoscale_s_budgets_alone_is_refused(ddo):
    with pytest.raises(InputError, match=r"budget 2e\+09 extrapolates from the fitted budget.*give fitted_budget too"):
        thresher.propose_mixture(ddo, method="autoscale", budget=2e9)
    with pytest.raises(InputError, match="fitted budget 5 is autoscale's alone"):
        thresher.propose_mixture(ddo, method="linear", fitted_budget=5)
    with pytest.raises(InputError, match="fitted_budget"):
        thresher.propose_mixture(ddo, method="autoscale", fitted_budget=0)


def test_what_is_said_of_a_domain_that_no_run_used_is_left_out_and_said():
    shares = np.linspace(0.1, 0.9, 8)
    weights = np.column_stack([shares, 1 - shares, np.zeros(8)])
    table = make_table(("a", "b", "c"), ("t",), weights, 2 - weights[:, :1] ** 0.5)
    said = {"tokens": {"a": 10, "b": 10, "c": 80}, "floors": {"c": 0.1}, "prior": {"c": 1, "a": 3, "b": 1}}
    found = thresher.propose_mixture(table, method="linear", num_resamples=0, **said)
    assert set(found["weights"]) == {"a", "b"}
    assert found["baselines"]["natural"] == pytest.approx({"a": 0.5, "b": 0.5})
    assert "left out the tokens, floors, prior of c, which no run used" in found["repairs"][-1]
    with pytest.raises(InputError, match="name 'd', which is no domain"):
        thresher.propose_mixture(table, method="linear", num_resamples=0, tokens={"a": 1, "b": 1, "d": 1})
