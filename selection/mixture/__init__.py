"""Domain weights for a budget: from a table of runs, from scores, or from losses in training, and how sure they are.

`read_table` or `make_table` gives a table of mixtures and losses, `make_goal` says what is to be made small, and
`make_constraints` says within which bounds. `propose` fits one of `METHODS` and returns a `Proposal` with intervals.
`plan_runs` and `next_runs` say which mixtures to train on. AutoScale, DoReMi and scores by domain have proposals of
their own.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.selection.mixture.autoscale.ddo import find_ddo
    from thresher.selection.mixture.autoscale.proposal import AutoScaleProposal, propose_autoscale
    from thresher.selection.mixture.autoscale.scaling import DomainScaling, Runs, fit_autoscale, project_paper
    from thresher.selection.mixture.constraints import Constraints, make_constraints
    from thresher.selection.mixture.design import Plan, next_runs, plan_runs
    from thresher.selection.mixture.domain_dsdm import fit_domain_dsdm, propose_domain_dsdm
    from thresher.selection.mixture.goal import Goal, make_goal
    from thresher.selection.mixture.laws.exponential import fit_exponential
    from thresher.selection.mixture.laws.law import Law, Losses, Weights
    from thresher.selection.mixture.laws.linear import LinearLaw, LogLaw
    from thresher.selection.mixture.laws.power_law import extrapolate
    from thresher.selection.mixture.methods import DEFAULT, METHODS
    from thresher.selection.mixture.nested import at_scale
    from thresher.selection.mixture.optimiser import optimise
    from thresher.selection.mixture.proposal import Proposal, propose
    from thresher.selection.mixture.table import MixtureTable, folds, make_table, split
    from thresher.selection.mixture.table_file import Columns, read_table
    from thresher.selection.mixture.uncertainty import bootstrap, hold_out

_HOMES = {
    "optimise": "thresher.selection.mixture.optimiser",
    "Weights": "thresher.selection.mixture.laws.law",
    "Losses": "thresher.selection.mixture.laws.law",
    "DomainScaling": "thresher.selection.mixture.autoscale.scaling",
    "MixtureTable": "thresher.selection.mixture.table",
    "folds": "thresher.selection.mixture.table",
    "make_table": "thresher.selection.mixture.table",
    "split": "thresher.selection.mixture.table",
    "Columns": "thresher.selection.mixture.table_file",
    "read_table": "thresher.selection.mixture.table_file",
    "at_scale": "thresher.selection.mixture.nested",
    "Goal": "thresher.selection.mixture.goal",
    "make_goal": "thresher.selection.mixture.goal",
    "Constraints": "thresher.selection.mixture.constraints",
    "make_constraints": "thresher.selection.mixture.constraints",
    "DEFAULT": "thresher.selection.mixture.methods",
    "METHODS": "thresher.selection.mixture.methods",
    "Plan": "thresher.selection.mixture.design",
    "next_runs": "thresher.selection.mixture.design",
    "plan_runs": "thresher.selection.mixture.design",
    "Proposal": "thresher.selection.mixture.proposal",
    "propose": "thresher.selection.mixture.proposal",
    "bootstrap": "thresher.selection.mixture.uncertainty",
    "hold_out": "thresher.selection.mixture.uncertainty",
    "AutoScaleProposal": "thresher.selection.mixture.autoscale.proposal",
    "propose_autoscale": "thresher.selection.mixture.autoscale.proposal",
    "find_ddo": "thresher.selection.mixture.autoscale.ddo",
    "Runs": "thresher.selection.mixture.autoscale.scaling",
    "fit_autoscale": "thresher.selection.mixture.autoscale.scaling",
    "project_paper": "thresher.selection.mixture.autoscale.scaling",
    "fit_domain_dsdm": "thresher.selection.mixture.domain_dsdm",
    "propose_domain_dsdm": "thresher.selection.mixture.domain_dsdm",
    "Law": "thresher.selection.mixture.laws.law",
    "LinearLaw": "thresher.selection.mixture.laws.linear",
    "LogLaw": "thresher.selection.mixture.laws.linear",
    "fit_exponential": "thresher.selection.mixture.laws.exponential",
    "extrapolate": "thresher.selection.mixture.laws.power_law",
}

__all__ = [
    "DEFAULT",
    "METHODS",
    "AutoScaleProposal",
    "Columns",
    "Constraints",
    "DomainScaling",
    "Goal",
    "Law",
    "LinearLaw",
    "LogLaw",
    "Losses",
    "MixtureTable",
    "Plan",
    "Proposal",
    "Runs",
    "Weights",
    "at_scale",
    "bootstrap",
    "extrapolate",
    "find_ddo",
    "fit_autoscale",
    "fit_domain_dsdm",
    "fit_exponential",
    "folds",
    "hold_out",
    "make_constraints",
    "make_goal",
    "make_table",
    "next_runs",
    "optimise",
    "plan_runs",
    "project_paper",
    "propose",
    "propose_autoscale",
    "propose_domain_dsdm",
    "read_table",
    "split",
]

__getattr__ = lazy(__name__, _HOMES)
