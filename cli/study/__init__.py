"""`thresher study`: which proxy can be trusted. Each action is a module of its own."""

from thresher.cli.study.from_table import FromTable
from thresher.cli.study.learning_rate import LearningRate
from thresher.cli.study.transfer import Transfer
from thresher.cli.study.verdict import Verdict

ACTIONS = {
    "from-table": FromTable,
    "transfer": Transfer,
    "learning-rate": LearningRate,
    "verdict": Verdict,
}
DESCRIPTION = """Which proxy can be trusted: do decisions between training sets hold on the larger reference?"""
