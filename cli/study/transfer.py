"""`thresher study transfer`: do decisions between training sets at a small size hold at the reference?"""

from dataclasses import dataclass

from thresher.choices import ComparedLoss, DecidingSets, Measure
from thresher.cli.command import made
from thresher.cli.lines import transfer_lines
from thresher.cli.study.options import StudyOptions


@dataclass(frozen=True, kw_only=True)
class Transfer(StudyOptions):
    """Train models of several sizes on several training sets, and judge each size's decisions by the reference's.

    Every run is an artefact under --out; run the same command again to resume, or with more sizes or recipes to go on.
    """

    usage = """
    thresher study transfer --pool pool --test-sets squad=target --recipes all=all web=domain:web books=domain:books \
      --sizes 0.4M 1.6M --out transfer
    """

    sizes: tuple[str, ...]
    """Models from small to large; the last is the reference."""
    learning_rate: float | None = None
    """Of every size; none: the rule for each."""
    top: tuple[int, ...] = (1, 3)
    """k of top-k regret."""
    criterion: Measure = "decision_accuracy"
    """decision_accuracy, weighted_accuracy (pairs count by how far apart they lie), clear_accuracy (pairs that the
    reference's noise does not hide), spearman or r2: whose interval has to reach --threshold for a proxy to hold."""
    threshold: float = 0.9
    sets: DecidingSets = "all"
    """What the mean is of: all test sets, those able to decide, in which noise leaves room for --threshold, or all
    weighted by signal to noise at the reference."""
    average: int = 1
    """Models are measured at so many of their last steps, and the mean is judged, on both sides."""
    loss: ComparedLoss = "loss"
    """What is compared: loss (nats a token), or bits_per_byte (of text, the same for every tokenizer)."""

    def run(self, progress):
        from thresher.selection.statistics.verdict import Criterion
        from thresher.studies.experiments.transfer import Ladder, transfer
        from thresher.studies.experiments.trust import judge_study

        criterion = Criterion(self.criterion, self.threshold, self.top, self.resamples, self.seed, sets=self.sets,
                              average=self.average)  # fmt: skip
        drawn = self.drawn(progress)
        artifact = transfer(
            drawn.pool,
            drawn.training_sets,
            self.opened_test_sets(),
            Ladder(tables={size: self.model_settings(size) for size in self.sizes}),
            budget=drawn.budget,
            seed=self.seed,
            workers=self.workers,
            workspace=drawn.sources.workspace,
            average=self.average,
        )
        return {**made(artifact), **judge_study(artifact, criterion, loss=self.loss)}

    def then(self, result):
        from thresher.cli.following import as_typed

        return ["thresher", "study", "verdict", as_typed(result["path"]), "--criterion", "spearman"]

    def show(self, result):
        return "\n".join([f"path: {result['path']}", *transfer_lines(result)])
