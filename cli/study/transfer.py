"""`thresher study transfer`: do decisions between training sets at a small size hold at the reference?"""

from dataclasses import dataclass
from pathlib import Path

from thresher.cli.command import Command, made, named_paths
from thresher.cli.lines import transfer_lines


@dataclass(frozen=True, kw_only=True)
class Transfer(Command):
    """Train models of several sizes on several training sets, and judge each size's decisions by the reference's.

    Every run is an artefact under --out; run the same command again to resume, or with more sizes or recipes to go on.
    """

    pool: Path
    """A prepared pool."""
    test_sets: tuple[str, ...]
    """NAME=PREPARED of what every model is measured on."""
    recipes: tuple[str, ...]
    """NAME=KIND:ARGUMENT of each training set (or files of such lines): all, domain:A+B, class:A, mixture:A=.5,B=.5,
    select:SPEC, selection:PATH, or remove: before one of these."""
    sizes: tuple[str, ...]
    """Models from small to large; the last is the reference."""
    out: Path
    tokens: int | None = None
    """Each recipe is trained on so many tokens an epoch; none: a fifth of the pool."""
    examples: int | None = None
    """Or on what so many average examples of the pool hold; of images, so many."""
    seeds: int = 2
    """Repeats of every recipe at every size, draws and initialisations paired."""
    targets: tuple[str, ...] = ()
    """NAME=PREPARED for recipes that select by targets."""
    models: tuple[str, ...] = ()
    """Proxies for recipes that select by features, losses or embeddings."""
    epochs: float = 1.0
    batch_size: int | None = None
    learning_rate: float | None = None
    """Of every size; none: the rule for each."""
    optimizer: str | None = None
    top: tuple[int, ...] = (1, 3)
    criterion: str = "decision_accuracy"
    """decision_accuracy, spearman or r2: whose interval has to reach --threshold for a proxy to hold."""
    threshold: float = 0.9
    resamples: int = 1000
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""
    executor: str = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.cli.study.options import draw_recipes
        from thresher.data.examples import open_examples
        from thresher.proxies.settings import ModelSettings
        from thresher.selection.statistics.verdict import Criterion
        from thresher.studies.experiments.transfer import Ladder, transfer
        from thresher.studies.experiments.trust import judge_study

        criterion = Criterion(self.criterion, self.threshold, self.top, self.resamples, self.seed)
        pool, sources, draws, budget = draw_recipes(self, progress)
        tables = {
            size: ModelSettings(
                size=size,
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                optimizer=self.optimizer,
            )
            for size in self.sizes
        }
        artifact = transfer(
            pool,
            draws,
            {name: open_examples(path) for name, path in named_paths(self.test_sets, "--test-sets").items()},
            Ladder(tables=tables),
            budget=budget,
            seed=self.seed,
            workers=self.workers,
            workspace=sources.workspace,
        )
        return {**made(artifact), **judge_study(artifact, criterion)}

    def show(self, result):
        return "\n".join([f"path: {result['path']}", *transfer_lines(result)])
