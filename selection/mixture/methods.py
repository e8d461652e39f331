"""All mixture methods by name: those that learn from a table of runs, and what each of the others needs instead."""

from dataclasses import dataclass

from thresher.errors import InputError, unknown
from thresher.selection.mixture.laws.boosted_trees import fit_regmix
from thresher.selection.mixture.laws.diminishing import fit_diminishing
from thresher.selection.mixture.laws.effective import fit_effective
from thresher.selection.mixture.laws.ensemble import fit_ensemble
from thresher.selection.mixture.laws.exponential import fit_exponential
from thresher.selection.mixture.laws.gaussian_process import fit_gaussian_process
from thresher.selection.mixture.laws.law import Fit
from thresher.selection.mixture.laws.linear import fit_linear, fit_loglinear
from thresher.selection.mixture.laws.portfolio import fit_utilimax


@dataclass(frozen=True)
class Method:
    """A way to learn a law from a table of runs."""

    summary: str
    """What it is, in a few words."""
    fit: Fit
    predicts_losses: bool = True
    """False if the law's one value is a utility of the mixture and not the targets' losses."""


DEFAULT = "ensemble"

METHODS = {
    "ensemble": Method("mean of diminishing returns and the Gaussian process, on log losses", fit_ensemble),
    "diminishing": Method("c + (sum a (x + e)^p)^-b + d . x", fit_diminishing),
    "exponential": Method("Data Mixing Law: c + k exp(t . x)", fit_exponential),
    "effective": Method("power law of effective data: c + (a . x)^-b", fit_effective),
    "gaussian-process": Method("Matern 5/2 on fourth roots of the weights", fit_gaussian_process),
    "regmix": Method("boosted trees, mean of the best 128 simulated mixtures", fit_regmix),
    "linear": Method("least squares; its optimum is a corner of the constraints", fit_linear),
    "log-linear": Method("Olmix: exp(a . x), convex, with a KL pull to the prior", fit_loglinear),
    "utilimax": Method("portfolio of domain utilities under risk", fit_utilimax, predicts_losses=False),
}

OTHERS = {
    "autoscale": "2m+1 runs of a DDO design, at one budget or two (autoscale.py)",
    "doremi": "excess losses of a proxy in training over a reference (doremi.py)",
    "domain-dsdm": "attribution scores summed by domain (domain_dsdm.py)",
    "uniform": "nothing",
    "natural": "token counts",
    "best-observed": "a table of runs",
}


def method_named(name: str) -> Method:
    """The method of that name. Raises InputError for an unknown one and for one that is not fitted to a table."""
    if name in METHODS:
        return METHODS[name]
    if name in OTHERS:
        raise InputError(f"method {name!r} is not fitted to a table of mixtures: it needs {OTHERS[name]}")
    raise unknown("method", name, [*METHODS, *OTHERS])
