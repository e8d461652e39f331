"""`thresher mix`: domain weights for a budget, and how sure they are. Each action is a module of its own."""

from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, configure, subcommand

from thresher.cli.mix_doremi import DoReMi
from thresher.cli.mix_plan import Plan
from thresher.cli.mix_runs import Runs
from thresher.cli.mix_scores import Scores
from thresher.cli.mix_table import Table
from thresher.cli.mix_validate import Validate

Action = (
    Annotated[Table, subcommand("table")]
    | Annotated[Plan, subcommand("plan")]
    | Annotated[Runs, subcommand("runs")]
    | Annotated[Scores, subcommand("scores")]
    | Annotated[DoReMi, subcommand("doremi")]
    | Annotated[Validate, subcommand("validate")]
)


@configure(OmitSubcommandPrefixes, OmitArgPrefixes)
def mix(action: Action):
    """Find domain weights for a budget, and say how sure they are.

    Every action takes --json (its result as one JSON object on stdout) and --quiet (no progress on stderr).
    """
    return action


COMMAND = mix
