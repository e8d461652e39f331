"""`thresher study verdict`: the smallest proxy that can be trusted, from a finished transfer study."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from thresher.choices import ComparedLoss, DecidingSets, Measure
from thresher.cli.command import Command
from thresher.shown import with_interval

WORDS = {"holds": "holds", "fails": "does not hold", "open": "cannot be told"}


@dataclass(frozen=True, kw_only=True)
class Verdict(Command):
    """Judge a finished transfer study anew, by another criterion or threshold; nothing is trained."""

    usage = "thresher study verdict transfer --criterion spearman --threshold 0.8"

    study: tyro.conf.Positional[Path]
    """The artefact that `thresher study transfer` made (its `path`)."""
    criterion: Measure = "decision_accuracy"
    """decision_accuracy, weighted_accuracy (pairs count by how far apart they lie), clear_accuracy (pairs that the
    reference's noise does not hide), spearman or r2: whose interval has to reach --threshold for a proxy to hold."""
    threshold: float = 0.9
    sets: DecidingSets = "all"
    """What the mean is of: all test sets, those able to decide, in which noise leaves room for --threshold, or all
    weighted by signal to noise at the reference."""
    average: int = 1
    """The mean over so many of the last steps is judged, on both sides: of those at which the study measured."""
    loss: ComparedLoss = "loss"
    """What is compared: loss (nats a token), or bits_per_byte (of text, the same for every tokenizer)."""
    top: tuple[int, ...] = (1, 3)
    """k of top-k regret."""
    resamples: int = 1000
    seed: int = 0

    def run(self, progress):
        from thresher.artifacts import open_artifact
        from thresher.selection.statistics.verdict import Criterion
        from thresher.studies.experiments.trust import judge_study

        criterion = Criterion(self.criterion, self.threshold, self.top, self.resamples, self.seed, sets=self.sets,
                              average=self.average)  # fmt: skip
        return judge_study(open_artifact(self.study, "transfer"), criterion, loss=self.loss)

    def show(self, result):
        return "\n".join(
            [
                f"{self.criterion} against {result['reference']}; regret: what taking a size's best costs, in loss",
                f"  {'size':<16}{self.criterion:<23}{'regret':<24}",
                *(_row(rung) for rung in result["verdict"]["rungs"]),
                result["verdict"]["sentence"],
            ]
        )


def _row(rung: Mapping[str, Any]) -> str:
    overall, regret = ("-" if rung[key] is None else with_interval(**rung[key]) for key in ("overall", "regret"))
    apart = "" if rung["pairs"] is None else "  {:,} of {:,} pairs told apart".format(*rung["pairs"])
    return f"  {rung['size']:<16}{overall:<23}{regret:<24}{WORDS[rung['decided']]}{apart}"
