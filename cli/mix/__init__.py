"""`thresher mix`: domain weights for a budget, and how sure they are. Each action is a module of its own."""

from thresher.cli.mix.doremi import DoReMi
from thresher.cli.mix.plan import Plan
from thresher.cli.mix.runs import Runs
from thresher.cli.mix.scores import Scores
from thresher.cli.mix.table import Table
from thresher.cli.mix.validate import Validate

ACTIONS = {
    "table": Table,
    "plan": Plan,
    "runs": Runs,
    "scores": Scores,
    "doremi": DoReMi,
    "validate": Validate,
}
DESCRIPTION = """Find domain weights for a budget, and say how sure they are."""
