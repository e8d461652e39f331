"""`thresher mix`: domain weights for a budget, and how sure they are. Each action is a module of its own."""

from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, configure, subcommand

from thresher.cli.mix.doremi import DoReMi
from thresher.cli.mix.plan import Plan
from thresher.cli.mix.runs import Runs
from thresher.cli.mix.scores import Scores
from thresher.cli.mix.table import Table
from thresher.cli.mix.validate import Validate

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
